//! Programs that ask the agent for an identity which is not theirs.

use std::time::Duration;

use crate::demo::cgroup::ByHand;
use crate::demo::layout::uid;
use crate::demo::row::{Findings, Row};
use crate::demo::stage::Stage;

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

#[expect(clippy::unused_async, reason = "the attackers are not here yet")]
pub(super) async fn attackers(_stage: &mut Stage, _found: &mut Findings) -> anyhow::Result<()> {
    anyhow::bail!("the attackers are not here yet")
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
