//! A replica's life: what it waits for, what it keeps when files break, and how it ends.

use std::time::Duration;

use authz_service::app::{self, Parts, StartError};
use authz_service::reload::policy::NoPolicy;
use daemon::{Lifecycle, Outcome, SystemClock};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tokio::task::JoinSet;

use crate::support::agent;
use crate::support::eventually;
use crate::support::pki::{AGENT, Pki};
use crate::support::proxy::{Ask, Proxy};
use crate::support::registry::Answer;
use crate::support::world::{POLICY, World};

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let mut world = World::without_certificate().await;
    let replica = world.start().await;
    let missing = format!("not ready, missing: agent {AGENT}, own certificate\n");
    assert_eq!(replica.page("/readyz").await, (503, missing));
    world.give_certificate();
    replica.serves_the_feed().await;
    assert_eq!(
        replica.page("/readyz").await,
        (503, format!("not ready, missing: agent {AGENT}\n"))
    );
    let mut stream = world.stream(&replica).await;
    stream.batch(world.state(), &world.agent.key).await.unwrap();
    stream.end_of_state().await;
    eventually("ready", async || {
        replica.page("/readyz").await == (200, "ready\n".to_owned())
    })
    .await;
}

#[tokio::test]
async fn broken_policy_leaves_the_generation_as_it_was() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let before = replica.app.snapshots.load();
    world.write_policy(
        "apiVersion: countersign.dev/v1alpha1\nkind: AccessPolicy\nspec: { rulez: [] }\n",
    );
    eventually("an alarm", async || {
        replica
            .page("/metrics")
            .await
            .1
            .contains("countersign_authz_policy_broken 1")
    })
    .await;
    let after = replica.app.snapshots.load();
    assert_eq!(
        (before.generation, before.policy.hash()),
        (after.generation, after.policy.hash())
    );
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .status,
        200
    );
    world.write_policy(&POLICY.replace("[POST]", "[PUT]"));
    eventually("the mended policy", async || {
        replica.app.snapshots.load().policy.hash() != after.policy.hash()
    })
    .await;
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .reason,
        "no-rule-matched"
    );
    assert!(
        replica
            .page("/metrics")
            .await
            .1
            .contains("countersign_authz_policy_broken 0")
    );
}

#[tokio::test]
async fn last_good_policy_outlives_a_restart_with_a_broken_directory() {
    let world = World::new().await;
    let (replica, stream) = world.synced().await;
    let hash = replica.app.snapshots.load().policy.hash().to_owned();
    drop(stream);
    replica.stop().await;
    world.write_policy("kind: Nonsense\n");
    let (replica, _stream) = world.synced().await;
    assert_eq!(replica.app.snapshots.load().policy.hash(), hash);
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn first_start_with_a_broken_policy_is_refused_with_its_place() {
    let world = World::new().await;
    world.write_policy(&POLICY.replace("artifact:", "artefact:"));
    let lifecycle = Lifecycle::new();
    let tracer = SdkTracerProvider::builder().build().tracer("test");
    let parts = Parts {
        config: world.config(),
        clock: SystemClock::shared(),
        tracer,
        lifecycle,
    };
    let error = app::start(parts).await.unwrap_err();
    assert!(
        matches!(error, StartError::Policy(NoPolicy::Broken(_))),
        "{error}"
    );
    assert!(error.is_bad_input());
    assert!(error.to_string().starts_with("access.yaml:14:"), "{error}");
}

#[tokio::test]
async fn stop_drains_requests_in_flight() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let tags: Vec<_> = (0..10).map(|number| format!("1.4-{number}")).collect();
    for tag in &tags {
        let answer = Answer::ok(
            "application/vnd.oci.image.manifest.v1+json",
            manifest(&image),
        );
        let late = answer.late(Duration::from_millis(500));
        world.registry.put_manifest("prod/payments", tag, late);
    }
    let (replica, _stream) = world.synced().await;
    let proxy = replica.proxy().await;
    let mut in_flight = JoinSet::new();
    for tag in &tags {
        let path = format!("/v2/prod/payments/manifests/{tag}");
        let (proxy, ask) = (proxy.clone(), Ask::pull(&world.puller, &path));
        in_flight.spawn(async move { proxy.ask(&ask).await });
    }
    eventually("every request in flight", async || {
        let asked = |tag: &String| world.registry.asked("prod/payments", tag) == 1;
        tags.iter().all(asked)
    })
    .await;
    let (outcome, said) = tokio::join!(replica.stop(), in_flight.join_all());
    assert_eq!(outcome, Outcome::Clean);
    assert!(said.iter().all(|said| said.status == 200), "{said:?}");
    assert_eq!(world.records().len(), 10);
}

fn manifest(image: &crate::support::registry::Image) -> Vec<u8> {
    serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": image.config, "size": 1 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": image.layer, "size": 1 }],
    })
    .to_string()
    .into_bytes()
}

#[tokio::test]
async fn addresses_that_were_bound_are_written_down() {
    let world = World::new().await;
    let replica = world.start().await;
    let text = std::fs::read_to_string(world.path("run/addresses.json")).unwrap();
    let written: app::Addresses = serde_json::from_str(&text).unwrap();
    assert_eq!(written, replica.app.addresses);
    assert_ne!(written.feed.port(), 0);
}

#[tokio::test]
async fn checks_are_answered_over_mtls_and_an_unknown_proxy_is_denied() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let address = replica.app.addresses.check_tcp.unwrap();
    let ask = Ask::charge(Some(&world.frontend));
    for (identity, status, reason) in [
        ("spiffe://acme.test/proxy/envoy", 200, ""),
        ("spiffe://acme.test/ns/web/sa/envoy", 403, "proxy-untrusted"),
    ] {
        let of_proxy = world.pki.svid(identity);
        let proxy = Proxy::connect_tls(address, &world.pki, &of_proxy).await;
        let said = proxy.ask(&ask).await;
        assert_eq!((said.status, said.reason.as_str()), (status, reason));
        replica.flush();
        assert_eq!(world.record(&said.decision)["proxy"], identity);
    }
}

#[tokio::test]
async fn renewed_certificate_is_used_for_the_next_handshake() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let address = replica.app.addresses.check_tcp.unwrap().to_string();
    let connector = agent::connector(&world.pki, &world.agent);
    let serial = async || {
        let stream = connector.connect(&address).await.unwrap();
        stream.peer().leaf().serial.clone()
    };
    let before = serial().await;
    world.workload_api.as_ref().unwrap().renew(&world.pki);
    eventually("another serial", async || serial().await != before).await;
}

#[tokio::test]
async fn roots_are_read_again_and_broken_ones_change_nothing() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let trust = || replica.app.snapshots.load().trust.generation;
    let before = trust();
    let roots = [world.pki.root_pem(), Pki::new().root_pem()].concat();
    std::fs::write(world.path("root.pem"), &roots).unwrap();
    eventually("two roots", async || trust() == before + 1).await;
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .status,
        200
    );
    std::fs::write(world.path("root.pem"), "no roots").unwrap();
    std::fs::write(world.path("policy/more.yaml"), "").unwrap();
    let policy = replica.app.snapshots.load().policy.hash().to_owned();
    // Both are read every two seconds: a new policy in force means that the broken roots were seen too, or will be.
    eventually("the other reload", async || {
        replica.app.snapshots.load().policy.hash() != policy
    })
    .await;
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .status,
        200
    );
    std::fs::write(world.path("root.pem"), Pki::new().root_pem()).unwrap();
    eventually("other roots", async || {
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .reason
            == "identity-untrusted"
    })
    .await;
}
