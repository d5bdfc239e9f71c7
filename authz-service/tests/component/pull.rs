//! Pulls: tags pinned, blobs held to a verified closure, and every way that a registry can fail.

use std::time::Duration;

use evidence::Digest;

use crate::support::eventually;
use crate::support::proxy::{Ask, Said};
use crate::support::registry::Answer;
use crate::support::world::{POLICY, Replica, World};

async fn pull(replica: &Replica, world: &World, path: &str) -> Said {
    replica.ask(&Ask::pull(&world.puller, path)).await
}

fn blob(repository: &str, digest: &Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

#[tokio::test]
async fn signed_tag_is_pinned_to_its_digest() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let (replica, _stream) = world.synced().await;
    let said = pull(&replica, &world, "/v2/prod/payments/manifests/1.4").await;
    let pinned = format!("/v2/prod/payments/manifests/{}", image.digest);
    assert_eq!((said.status, said.path.as_ref()), (200, Some(&pinned)));
    replica.flush();
    assert_eq!(world.record(&said.decision)["pinned"], pinned);
}

#[tokio::test]
async fn unsigned_tag_is_denied() {
    let world = World::new().await;
    world.registry.image("prod/rogue", "1.0", "rogue");
    let (replica, _stream) = world.synced().await;
    let said = pull(&replica, &world, "/v2/prod/rogue/manifests/1.0").await;
    assert_eq!(
        (said.status, said.reason.as_str()),
        (403, "artifact-unsigned")
    );
}

#[tokio::test]
async fn tag_moved_to_an_unsigned_image_is_denied_by_a_warm_service() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let evil = world.registry.image("prod/payments", "evil", "evil");
    let (replica, _stream) = world.synced().await;
    assert_eq!(
        pull(&replica, &world, "/v2/prod/payments/manifests/1.4")
            .await
            .status,
        200
    );
    world
        .registry
        .move_tag("prod/payments", "1.4", &evil.digest);
    let said = pull(&replica, &world, "/v2/prod/payments/manifests/1.4").await;
    assert_eq!(
        (said.status, said.reason.as_str()),
        (403, "artifact-unsigned")
    );
    world
        .registry
        .move_tag("prod/payments", "1.4", &image.digest);
    assert_eq!(
        pull(&replica, &world, "/v2/prod/payments/manifests/1.4")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn blobs_of_a_verified_image_pass_and_others_do_not() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let rogue = world.registry.image("prod/rogue", "1.0", "rogue");
    let (replica, _stream) = world.synced().await;
    pull(&replica, &world, "/v2/prod/payments/manifests/1.4").await;
    for digest in [&image.layer, &image.config, &image.digest] {
        assert_eq!(
            pull(&replica, &world, &blob("prod/payments", digest))
                .await
                .status,
            200,
            "{digest}"
        );
    }
    for (repository, digest) in [
        ("prod/rogue", &rogue.layer),
        ("prod/rogue", &image.layer),
        ("prod/payments", &rogue.layer),
    ] {
        let said = pull(&replica, &world, &blob(repository, digest)).await;
        assert_eq!(
            (said.status, said.reason.as_str()),
            (403, "blob-outside-closure"),
            "{repository} {digest}"
        );
    }
}

#[tokio::test]
async fn closure_that_is_not_known_is_derived_from_the_tags() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let (replica, _stream) = world.synced().await;
    let said = pull(&replica, &world, &blob("prod/payments", &image.layer)).await;
    assert_eq!((said.status, said.rule.as_str()), (200, "pulls"));
}

#[tokio::test]
async fn children_of_a_signed_index_pass_with_their_blobs() {
    let world = World::new().await;
    let (amd, arm) = (
        world.registry.image("prod/multi", "amd", "amd"),
        world.registry.image("prod/multi", "arm", "arm"),
    );
    let index = world.registry.index("prod/multi", "2", &[&amd, &arm]);
    world.registry.sign("prod/multi", &index, &world.release);
    let (replica, _stream) = world.synced().await;
    assert_eq!(
        pull(&replica, &world, "/v2/prod/multi/manifests/2")
            .await
            .status,
        200
    );
    for image in [&amd, &arm] {
        let child = format!("/v2/prod/multi/manifests/{}", image.digest);
        assert_eq!(pull(&replica, &world, &child).await.status, 200);
        assert_eq!(
            pull(&replica, &world, &blob("prod/multi", &image.layer))
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn closures_outlive_a_restart_without_the_tags() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let (replica, stream) = world.synced().await;
    pull(&replica, &world, "/v2/prod/payments/manifests/1.4").await;
    drop(stream);
    replica.stop().await;
    world
        .registry
        .put("/v2/prod/payments/tags/list", Answer::status(500));
    let (replica, _stream) = world.synced().await;
    assert_eq!(
        pull(&replica, &world, &blob("prod/payments", &image.layer))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn repository_that_cannot_be_derived_is_pending() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    let (replica, _stream) = world.synced().await;
    let many: Vec<_> = (0..200).map(|number| format!("t{number}")).collect();
    let too_many = serde_json::json!({ "name": "prod/payments", "tags": many })
        .to_string()
        .into_bytes();
    for answer in [
        Answer::status(500),
        Answer::ok("text/html", b"<html>".to_vec()),
        Answer::ok("application/json", too_many),
    ] {
        world.registry.put("/v2/prod/payments/tags/list", answer);
        let said = pull(&replica, &world, &blob("prod/payments", &image.layer)).await;
        assert_eq!(
            (said.status, said.reason.as_str()),
            (503, "verification-pending")
        );
    }
}

#[tokio::test]
async fn new_policy_closes_what_the_old_one_opened() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let (replica, _stream) = world.synced().await;
    assert_eq!(
        pull(&replica, &world, "/v2/prod/payments/manifests/1.4")
            .await
            .status,
        200
    );
    world.write_policy(&POLICY.replace("prod/**", "other/**"));
    eventually("the new policy", async || {
        pull(&replica, &world, &blob("prod/payments", &image.layer))
            .await
            .reason
            == "no-rule-matched"
    })
    .await;
}

#[tokio::test]
async fn every_fault_of_a_registry_is_a_typed_denial() {
    let world = World::new().await;
    let garbage = [
        (
            "html",
            Answer::ok("text/html", b"<html>".to_vec()),
            403,
            "artifact-malformed",
        ),
        (
            "empty",
            Answer::ok("application/vnd.oci.image.manifest.v1+json", Vec::new()),
            403,
            "artifact-malformed",
        ),
        (
            "huge",
            Answer::ok(
                "application/vnd.oci.image.manifest.v1+json",
                vec![b' '; 5 << 20],
            ),
            403,
            "artifact-malformed",
        ),
        ("gone", Answer::status(404), 404, "artifact-not-found"),
        ("down", Answer::status(503), 503, "registry-unreachable"),
        ("moved", Answer::status(307), 503, "registry-unreachable"),
        (
            "forbidden",
            Answer::status(401),
            503,
            "registry-unreachable",
        ),
    ];
    let (replica, _stream) = world.synced().await;
    for (tag, answer, status, reason) in garbage {
        world.registry.put_manifest("prod/broken", tag, answer);
        let said = pull(
            &replica,
            &world,
            &format!("/v2/prod/broken/manifests/{tag}"),
        )
        .await;
        assert_eq!(
            (said.status, said.reason.as_str()),
            (status, reason),
            "{tag}"
        );
    }
}

#[tokio::test]
async fn digest_that_the_registry_answers_with_other_bytes_is_malformed() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let evil = world.registry.image("prod/payments", "evil", "evil");
    let (replica, _stream) = world.synced().await;
    world
        .registry
        .move_tag("prod/payments", image.digest.as_str(), &evil.digest);
    let said = pull(
        &replica,
        &world,
        &format!("/v2/prod/payments/manifests/{}", image.digest),
    )
    .await;
    assert_eq!(
        (said.status, said.reason.as_str()),
        (403, "artifact-malformed")
    );
}

#[tokio::test]
async fn late_registry_is_a_deadline_within_the_proxys_own() {
    let world = World::new().await;
    let late = Answer::ok("text/plain", Vec::new()).late(Duration::from_secs(4));
    world.registry.put_manifest("prod/slow", "1", late);
    let (replica, _stream) = world.synced().await;
    let ask =
        Ask::pull(&world.puller, "/v2/prod/slow/manifests/1").within(Duration::from_millis(300));
    let said = replica.ask(&ask).await;
    assert_eq!((said.status, said.reason.as_str()), (503, "deadline"));
}

#[tokio::test]
async fn registry_that_is_not_configured_is_unreachable() {
    let world = World::new().await;
    world.write_policy(&POLICY.replace("hosts: [localhost]", "hosts: [localhost, elsewhere.test]"));
    let (replica, _stream) = world.synced().await;
    let ask = Ask {
        host: "elsewhere.test",
        ..Ask::pull(&world.puller, "/v2/prod/payments/manifests/1.4")
    };
    let said = replica.ask(&ask).await;
    assert_eq!(
        (said.status, said.reason.as_str()),
        (503, "registry-unreachable")
    );
}
