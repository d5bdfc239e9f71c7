//! Programs that ask the agent for an identity which is not theirs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
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
    does: "the frontend, one byte longer: by exec, and by hand in a cgroup",
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
    does: "fork, exec after connect, socket passed on, forged exe link",
    expected: "no identity, each its own reason; the signed program by the same path gets one",
};

/// Each attack, and the reason that is its own.
const ATTACKS: [(&str, &str); 5] = [
    ("fork", "workload-gone"),
    ("exec-after-connect", "workload-changed"),
    ("passed-on", "workload-not-isolated"),
    ("passed-on-then-exec", "workload-changed"),
    ("forged-exe-link", "attestor-failed"),
];

pub(super) async fn attackers(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    for (attack, reason) in ATTACKS {
        let answer = attacked(stage, attack)
            .await
            .with_context(|| format!("the attack {attack}"))?;
        found.contains(attack, &answer, reason);
        found.holds("an attacker has no identity", !answer.contains("spiffe_id"));
        found.got(format!(
            "{attack}: {}",
            if answer.contains(reason) {
                reason
            } else {
                answer.trim()
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

/// Runs one attack with the victim's uid, and gives what the accomplice was told.
async fn attacked(stage: &Stage, attack: &str) -> anyhow::Result<String> {
    let layout = &stage.world.layout;
    // Only the forger must read the program whose name it takes; 0711 alone would stop it.
    let signed = if attack == "forged-exe-link" {
        "attacked-readable"
    } else {
        "attacked"
    };
    let mut attacker = Program::new(
        &format!("row-4-{attack}"),
        "/usr/bin/python3",
        &layout.logs(),
    )
    .user(uid::FRONTEND)
    .arg(layout.bin("attack.py"))
    .arg(attack)
    .args([
        layout.agent_socket(),
        layout.bin(signed),
        layout.bin("rogue"),
    ])
    .env(
        "SPIFFE_ENDPOINT_SOCKET",
        format!("unix://{}", layout.agent_socket().display()),
    )
    .start()?;
    let deadline = Instant::now() + FETCH;
    // The attacker may end before its accomplice has an answer.
    while attacker.out().trim().is_empty() {
        ensure!(
            Instant::now() < deadline,
            "no answer: {}",
            attacker.last_words()
        );
        sleep(LOOK).await;
    }
    attacker.stop().await?;
    Ok(attacker.out())
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
