//! Certificates renewed over and over under load.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::sleep;

use crate::demo::row::{Findings, Row};
use crate::demo::stage::Stage;

pub(super) const UNDER_LOAD: Row = Row {
    number: 16,
    who: "frontend",
    does: "4000 POSTs, 200 connections, certificates rotating",
    expected: "0 failed, at least 20 serials of each seen on the wire",
};

pub(super) async fn under_load(stage: &mut Stage, found: &mut Findings) -> anyhow::Result<()> {
    let proxy = stage.world.ports.envoy.to_string();
    let mut load = stage
        .world
        .exec("row-16", "frontend", "frontend")
        .args([
            "load",
            "--proxy",
            &proxy,
            "--requests",
            "4000",
            "--handshakes",
            "200",
        ])
        .args(["--serials", "20", "--seconds", "120"])
        .start()?;
    let mut rotations = 0_u32;
    while load.lives()? {
        for grant in ["frontend", "envoy"] {
            let rotated = stage
                .world
                .agent_says(&["workload", "rotate"], &[grant])
                .await?;
            // The load may end while we ask.
            if rotated.code != 0 && load.lives()? {
                anyhow::bail!(
                    "`cert-agent workload rotate {grant}` ended with {}: {}",
                    rotated.code,
                    rotated.err
                );
            }
        }
        rotations += 1;
        sleep(BETWEEN).await;
    }
    let out = load.out();
    let line = out
        .lines()
        .last()
        .with_context(|| format!("the load printed nothing: {}", load.err()))?;
    let ended: Value = serde_json::from_str(line)?;
    judge(&ended, rotations, found)
}

fn judge(ended: &Value, rotations: u32, found: &mut Findings) -> anyhow::Result<()> {
    let number = |name: &str| {
        ended
            .get(name)
            .and_then(Value::as_u64)
            .with_context(|| format!("no `{name}` in {ended}"))
    };
    let (requests, handshakes, failed) = (
        number("requests")?,
        number("handshakes")?,
        number("failed")?,
    );
    let (client, server) = (number("client_serials")?, number("server_serials")?);
    found.got(format!(
        "{failed} failed of {requests} on {handshakes} connections"
    ));
    found.got(format!(
        "{}/s",
        ended
            .get("per_second")
            .and_then(Value::as_f64)
            .unwrap_or_default()
    ));
    found.why(format!(
        "{rotations} rotations forced, {client} serials of frontend and {server} of Envoy seen"
    ));
    if failed > 0 {
        found.why(
            ended
                .get("failures")
                .map(ToString::to_string)
                .unwrap_or_default(),
        );
    }
    found.same("failed", &failed, &0);
    found.holds("4000 requests", requests >= 4000);
    found.holds("200 handshakes", handshakes >= 200);
    found.holds("20 serials of frontend", client >= 20);
    found.holds("20 serials of Envoy", server >= 20);
    Ok(())
}

/// Lets requests come between two rotations.
const BETWEEN: Duration = Duration::from_millis(200);
