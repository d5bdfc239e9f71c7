//! authz-service killed and started again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::sleep;

use crate::demo::row::{Findings, Row};
use crate::demo::stage::{Stage, charge};
use crate::demo::tamper::Tamper;
use crate::demo::world::ExplainFrom;

pub(super) const KILLED: Row = Row {
    number: 14,
    who: "frontend",
    does: "POST while authz-service is killed",
    expected: "503, nothing passes",
};

pub(super) async fn killed(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    stage.world.kill_authz().await?;
    let client = stage.actors.client("frontend")?;
    for _ in 0..TRIES {
        let reply = stage.call(Arc::clone(&client), &charge()).await?;
        found.same("status", &reply.status, &503);
    }
    found.got(format!("503 to {TRIES} of {TRIES}"));
    found.why("failure_mode_allow: false, status_on_error: 503");
    stage.behind_fail_open(14, "frontend", &charge()).await
}

pub(super) const BACK: Row = Row {
    number: 15,
    who: "frontend",
    does: "POST after authz-service is back",
    expected: "200 within 10 s, and explain still knows row 6",
};

pub(super) async fn back(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    if stage.world.tamper == Tamper::RecordsAreLost {
        std::fs::remove_file(stage.world.layout.records())?;
    }
    let start = Instant::now();
    stage.world.start_authz().await?;
    loop {
        let reply = stage
            .call(stage.actors.client("frontend")?, &charge())
            .await?;
        if reply.status == 200 {
            break;
        }
        if start.elapsed() > RETURN {
            bail!(
                "still {} {} after {} s",
                reply.status,
                reply.text(),
                start.elapsed().as_secs()
            );
        }
        sleep(Duration::from_millis(100)).await;
    }
    let took = start.elapsed();
    found.got(format!("200 after {:.1} s", took.as_secs_f64()));
    found.holds("back within 10 s", took <= RETURN);
    let decision = stage
        .thiefs_decision
        .clone()
        .context("row 6 left no decision")?;
    for from in [ExplainFrom::Admin, ExplainFrom::Records] {
        let finished = stage.world.explain(&decision, from).await?;
        found.contains("explain", &finished.out, "binding-missing");
    }
    found.why("row 6 is still explained: binding-missing");
    Ok(())
}

/// Enough to be sure that nothing passes by chance.
const TRIES: usize = 10;
/// What the issue allows.
const RETURN: Duration = Duration::from_secs(10);
