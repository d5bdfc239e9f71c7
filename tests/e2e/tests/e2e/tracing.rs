//! One span per Check, in the proxy's own trace.

use std::time::Duration;

use anyhow::Context as _;
use kit::demo::stage::charge;
use kit::wire::once;

use crate::stage::with_world;

#[tokio::test(flavor = "multi_thread")]
async fn span_of_a_check_is_a_child_of_the_proxys_span() -> anyhow::Result<()> {
    with_world("e2e-tracing", |stage, spans| {
        Box::pin(async move {
            let reply = once(
                stage.world.ports.envoy,
                stage.actors.client("frontend")?,
                &charge(),
            )
            .await?;
            assert_eq!(reply.status, 200);
            let record = stage
                .world
                .record(reply.decision().context("no decision")?)
                .await?;
            let trace = record["trace_id"]
                .as_str()
                .context("the record names no trace")?
                .to_owned();
            let ours =
                |span: &kit::otlp::Span| span.trace_id == trace && span.service == "authz-service";
            let check = spans.wait_for(WAIT, ours).await?;
            let parent = spans
                .wait_for(WAIT, |span| {
                    span.trace_id == trace && span.span_id == check.parent_id
                })
                .await?;
            assert_eq!(parent.service, "envoy");
            assert!(parent.name.contains("Check"), "{parent:?}");
            Ok(())
        })
    })
    .await
}

/// Both exporters send every few seconds.
const WAIT: Duration = Duration::from_secs(30);
