//! An operator learns which link broke and what to do next, before and after a restart.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use kit::demo::actors::FRONTEND;
use kit::demo::stage::{Stage, charge};
use kit::demo::world::ExplainFrom;
use kit::images::{Recorded, push_manifest};
use kit::wire::{Call, once};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::stage::with_world;

/// A denial, its reason, and the link of the chain that broke.
struct Denied {
    decision: String,
    reason: &'static str,
    link: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_the_broken_link_and_the_next_step_also_after_a_restart() -> anyhow::Result<()>
{
    with_world("e2e-explain", |stage, _| {
        Box::pin(async move {
            let denials = denials(stage).await?;
            for denied in &denials {
                explained(stage, denied, ExplainFrom::Admin).await?;
            }
            let mut authz = stage.world.take_authz()?;
            authz.signal(Signal::SIGTERM)?;
            assert_eq!(authz.ended(WAIT).await?, 0);
            for denied in &denials {
                explained(stage, denied, ExplainFrom::Records).await?;
            }
            stage.world.start_authz().await?;
            for denied in &denials {
                explained(stage, denied, ExplainFrom::Admin).await?;
            }
            Ok(())
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn workload_explain_names_a_refusal_and_the_next_step() -> anyhow::Result<()> {
    with_world("e2e-workload-explain", |stage, _| {
        Box::pin(async move {
            let refused = stage
                .world
                .exec("rogue", "frontend", "rogue")
                .arg("fetch")
                .finish(WAIT)
                .await?;
            assert_eq!(refused.code, 126);
            for subject in [stage.world.programs.rogue.as_str(), FRONTEND] {
                let explained = stage
                    .world
                    .agent_says(&["workload", "explain"], &[subject])
                    .await?;
                assert!(explained.out.contains("artifact-unsigned"), "{explained:?}");
                assert!(explained.out.contains("next"), "{explained:?}");
            }
            Ok(())
        })
    })
    .await
}

/// The denials of the demo's rows 2, 5, 6, 10, 12 and 13.
async fn denials(stage: &Stage) -> anyhow::Result<Vec<Denied>> {
    let (envoy, plain) = (stage.world.ports.envoy, stage.extra("plain-trusted-ca")?);
    let delete = Call::new("DELETE", "payments.acme.test", "/v1/charges/7");
    let layer = format!(
        "/v2/prod/rogue/blobs/{}",
        Recorded::read("prod/rogue")?.layer("1.0")?
    );
    let mut denials = vec![
        denied(stage, envoy, "frontend", &delete, "no-rule-matched", "rule").await?,
        denied(
            stage,
            plain,
            "nobody",
            &charge(),
            "identity-missing",
            "identity",
        )
        .await?,
        denied(
            stage,
            envoy,
            "thief",
            &charge(),
            "binding-missing",
            "binding",
        )
        .await?,
        denied(
            stage,
            envoy,
            "puller",
            &manifest("rogue", "1.0"),
            "artifact-unsigned",
            "target-artifact",
        )
        .await?,
        denied(
            stage,
            envoy,
            "puller",
            &Call::new("GET", "localhost", &layer),
            "blob-outside-closure",
            "target-artifact",
        )
        .await?,
    ];
    let (registry, rogue) = (stage.world.ports.registry, Recorded::read("prod/rogue")?);
    rogue.push(registry, "prod/payments").await?;
    let unsigned = rogue
        .manifests
        .get(rogue.digest("1.0")?)
        .context("no image")?;
    push_manifest(registry, "prod/payments", "1.4", unsigned).await?;
    denials.push(
        denied(
            stage,
            envoy,
            "puller",
            &manifest("payments", "1.4"),
            "artifact-unsigned",
            "target-artifact",
        )
        .await?,
    );
    Ok(denials)
}

async fn denied(
    stage: &Stage,
    proxy: SocketAddr,
    actor: &str,
    call: &Call,
    reason: &'static str,
    link: &'static str,
) -> anyhow::Result<Denied> {
    let reply = once(proxy, stage.actors.client(actor)?, call).await?;
    assert_eq!(
        reply.reason().as_deref(),
        Some(reason),
        "{} {}",
        reply.status,
        reply.text()
    );
    Ok(Denied {
        decision: reply.decision().context("no decision id")?.to_owned(),
        reason,
        link,
    })
}

async fn explained(stage: &Stage, denied: &Denied, from: ExplainFrom) -> anyhow::Result<()> {
    let Denied {
        decision,
        reason,
        link,
    } = denied;
    let explanation = stage.world.explanation(decision, from).await?;
    let says = |pointer: &str| explanation.pointer(pointer).and_then(Value::as_str);
    assert_eq!(says("/broken"), Some(*link), "{explanation:#}");
    assert_eq!(says("/reason/code"), Some(*reason), "{explanation:#}");
    assert!(
        says("/next/0").is_some_and(|step| !step.is_empty()),
        "{explanation:#}"
    );
    Ok(())
}

fn manifest(repository: &str, tag: &str) -> Call {
    let call = Call::new(
        "GET",
        "localhost",
        &format!("/v2/prod/{repository}/manifests/{tag}"),
    );
    call.header("accept", "application/vnd.oci.image.manifest.v1+json")
}

/// More than a program takes to end on a loaded machine.
const WAIT: Duration = Duration::from_secs(20);
