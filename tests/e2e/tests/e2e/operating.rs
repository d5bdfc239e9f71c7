//! What an operator relies on: draining, and a policy file that does not compile.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kit::demo::stage::charge;
use kit::wire::{Call, once, plain};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::stage::with_world;

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_check_in_flight_finish_and_ends_with_zero() -> anyhow::Result<()> {
    with_world("e2e-drain", |stage, _| {
        Box::pin(async move {
            let (envoy, admin) = (stage.world.ports.envoy, stage.world.ports.envoy_admin);
            // The registry answers nothing for now, so the Check of this pull waits inside authz-service.
            stage.world.signal_registry(Signal::SIGSTOP)?;
            let client = stage.actors.client("puller")?;
            let mut in_flight = JoinSet::new();
            in_flight.spawn(async move {
                let call = Call::new("GET", "localhost", "/v2/prod/payments/manifests/1.4")
                    .header("accept", "application/vnd.oci.image.manifest.v1+json");
                once(envoy, client, &call).await
            });
            until(
                "a Check is in flight",
                admin,
                "/stats?filter=cluster.authz_service.upstream_rq_active",
                |body| body.contains("upstream_rq_active: 1"),
            )
            .await?;
            let mut authz = stage.world.take_authz()?;
            authz.signal(Signal::SIGTERM)?;
            until(
                "it says that it stops",
                stage.world.ports.authz_health,
                "/readyz",
                |body| body.contains("503"),
            )
            .await?;
            stage.world.signal_registry(Signal::SIGCONT)?;
            assert_eq!(authz.ended(WAIT).await?, 0);
            let reply = in_flight
                .join_next()
                .await
                .context("nothing was in flight")??;
            assert_eq!(reply?.status, 200);
            Ok(())
        })
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_policy_file_leaves_the_policy_in_force() -> anyhow::Result<()> {
    with_world("e2e-policy", |stage, _| {
        Box::pin(async move {
            let before = stage.world.status().await?;
            let broken = stage.world.layout.policy().join("broken.yaml");
            std::fs::write(&broken, "apiVersion: countersign.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: x }\nspecs: {}\n")?;
            let health = stage.world.ports.authz_health;
            let says = |value: &'static str| {
                move |body: &str| body.lines().any(|line| line == format!("countersign_authz_policy_broken {value}"))
            };
            until("the metric says broken", health, "/metrics", says("1")).await?;
            let after = stage.world.status().await?;
            assert_eq!(field(&after, "policy_hash")?, field(&before, "policy_hash")?);
            assert_eq!(field(&after, "generation")?, field(&before, "generation")?);
            let reply = once(stage.world.ports.envoy, stage.actors.client("frontend")?, &charge()).await?;
            assert_eq!(reply.status, 200);
            std::fs::remove_file(&broken)?;
            until("the metric says good again", health, "/metrics", says("0")).await
        })
    })
    .await
}

fn field<'a>(status: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    status
        .get(name)
        .with_context(|| format!("no `{name}` in {status}"))
}

/// Asks an HTTP address again and again, until status and body are as wanted.
async fn until(
    what: &str,
    address: SocketAddr,
    path: &str,
    wanted: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + WAIT;
    loop {
        let answer = match plain(address, &Call::new("GET", &address.to_string(), path)).await {
            Ok(reply) => format!("{}\n{}", reply.status, reply.text()),
            Err(error) => error.to_string(),
        };
        if wanted(&answer) {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "not so within {WAIT:?}: {what}; the last answer: {answer}"
        );
        sleep(LOOK).await;
    }
}

/// More than a reload or a drain takes on a loaded machine.
const WAIT: Duration = Duration::from_secs(20);
/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(25);
