//! Programs that ask the agent for an identity which is not theirs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::sleep;

use crate::demo::actors::FRONTEND;
use crate::demo::cgroup::ByHand;
use crate::demo::layout::uid;
use crate::demo::row::{Findings, Row};
use crate::demo::stage::Stage;
use crate::process::Program;

pub(super) const ROGUE: Row = Row {
    number: 3,
    who: "rogue",
    does: "same program, one byte longer: exec, and by hand",
    expected: "no identity: artifact-unsigned, workload-not-isolated",
};

pub(super) async fn rogue(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let finished = stage
        .world
        .exec("row-3", "frontend", "rogue")
        .arg("fetch")
        .finish(FETCH)
        .await?;
    found.got(refusal(&finished.err));
    found.same("exit code", &finished.code, &126);
    found.contains("cert-agent", &finished.err, "artifact-unsigned");
    found.holds("rogue did not run", finished.out.is_empty());

    let by_hand = ByHand::new(stage.world.layout.base())?;
    let finished = by_hand.program(
        "row-3-by-hand",
        uid::FRONTEND,
        &stage.world.layout.bin("rogue"),
        &stage.world.layout,
    );
    let finished = finished.arg("fetch").finish(FETCH).await?;
    found.got(if finished.out.contains("workload-not-isolated") {
        "workload-not-isolated"
    } else {
        "something else"
    });
    found.contains("the Workload API", &finished.out, "workload-not-isolated");
    found.holds("rogue has no identity", !finished.out.contains("spiffe_id"));
    found.why("nobody signed it; a cgroup the agent did not begin proves nothing");
    Ok(())
}

pub(super) const ATTACKERS: Row = Row {
    number: 4,
    who: "attackers",
    does: "fork, exec, pass on a socket, forge the exe link",
    expected: "no identity, each its own reason; the signed program by the same path gets one",
};

/// Each attack, and the reason that is its own.
const ATTACKS: [(&str, &str); 5] = [
    ("fork", "workload-gone"),
    ("exec", "workload-changed"),
    ("pass", "workload-not-isolated"),
    ("forge", "attestor-failed"),
    ("forge-shared", "workload-not-isolated"),
];

pub(super) async fn attackers(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    found.got("no identity");
    for (attack, reason) in ATTACKS {
        let Attacked { told, reasons } = attacked(stage, attack)
            .await
            .with_context(|| format!("the attack {attack}"))?;
        found.same("what an attacker was told", told.as_str(), "nothing");
        found.contains(attack, &reasons, reason);
        found.why(format!(
            "{attack}: {}",
            if reasons.contains(reason) {
                reason
            } else {
                &reasons
            }
        ));
    }
    let finished = stage
        .world
        .exec("row-4-signed", "frontend", "attacked")
        .arg("fetch")
        .finish(FETCH)
        .await?;
    found.contains(
        "the signed program by the same path",
        &finished.out,
        FRONTEND,
    );
    found.why(if finished.out.contains(FRONTEND) {
        "the signed program: an identity"
    } else {
        "the signed program: none"
    });
    Ok(())
}

/// What came of an attack.
struct Attacked {
    /// By its own word: `identity` or `nothing`.
    told: String,
    /// Every reason for which the agent refused its process, as an operator sees them.
    reasons: String,
}

/// Runs one attack with the victim's uid.
async fn attacked(stage: &Stage, attack: &str) -> anyhow::Result<Attacked> {
    let layout = &stage.world.layout;
    let attacker = Program::new(
        &format!("row-4-{attack}"),
        &stage.world.programs.attackers.attacker,
        &layout.logs(),
    )
    .user(uid::FRONTEND)
    .arg(attack)
    .arg(layout.agent_socket());
    let attacker = match attack {
        // The program that it becomes finds no agent of its own to ask, and stays.
        "exec" => attacker
            .arg(layout.bin("attacked"))
            .arg("hold")
            .env("SPIFFE_ENDPOINT_SOCKET", "unix:///nowhere"),
        // Only the forger must read the program whose name it takes; 0711 alone would stop it.
        "forge" | "forge-shared" => attacker.arg(layout.bin("attacked-readable")),
        _ => attacker,
    };
    let mut attacker = attacker.start()?;
    let deadline = Instant::now() + FETCH;
    // Its process may end before a child of it has an answer.
    while attacker.out().trim().is_empty() {
        ensure!(
            Instant::now() < deadline,
            "no answer: {}",
            attacker.last_words()
        );
        sleep(LOOK).await;
    }
    let pid = attacker.pid();
    attacker.stop().await?;
    Ok(Attacked {
        told: attacker.out().trim().to_owned(),
        reasons: reasons(stage, pid).await?,
    })
}

/// Asks as an operator would, by the name under which the agent keeps a stranger's process.
async fn reasons(stage: &Stage, pid: i32) -> anyhow::Result<String> {
    let subject = format!("pid {pid}");
    let explained = stage
        .world
        .agent_says(
            &["workload", "explain"],
            &[subject.as_str(), "--output", "json"],
        )
        .await?;
    let refused: Vec<Value> =
        serde_json::from_str(&explained.out).context("no explanation of the process")?;
    Ok(refused
        .iter()
        .filter_map(|workload| workload.get("reason")?.as_str())
        .collect::<Vec<_>>()
        .join(" "))
}

/// The agent's words, without the program's name.
fn refusal(err: &str) -> String {
    let line = err.lines().last().unwrap_or_default();
    let reason = line
        .split("refused: ")
        .nth(1)
        .and_then(|rest| rest.split(':').next());
    reason.unwrap_or(line).to_owned()
}

/// One answer of the agent on a loaded machine.
const FETCH: Duration = Duration::from_secs(30);
/// How often the accomplice's answer is looked for.
const LOOK: Duration = Duration::from_millis(50);
