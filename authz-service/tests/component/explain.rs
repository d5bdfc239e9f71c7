//! `explain`: the broken link and the next step, before and after a restart.

use authz_service::admin::client::{AdminClient, AdminError};
use authz_service::decide::Link;
use authz_service::explain::Explanation;
use authz_service::record::log;
use evidence::Digest;
use evidence::binding::FeedItem;

use crate::feed::refusal;
use crate::support::pki::FRONTEND;
use crate::support::proxy::Ask;
use crate::support::world::{Replica, World};

async fn explained(replica: &Replica, id: &str) -> Result<Explanation, AdminError> {
    AdminClient::connect(&replica.app.addresses.admin)
        .await
        .unwrap()
        .explain(id)
        .await
}

#[tokio::test]
async fn thief_is_explained_by_the_agents_refusal_before_and_after_a_restart() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let rogue = Digest::sha256_of(b"rogue");
    stream
        .batch(vec![FeedItem::Refusal(refusal(&rogue))], &world.agent.key)
        .await
        .unwrap();
    let thief = world.pki.svid(FRONTEND);
    let said = replica.ask(&Ask::charge(Some(&thief))).await;
    assert_eq!(said.reason, "binding-missing");

    let live = explained(&replica, &said.decision).await.unwrap();
    assert_eq!(live.broken, Some(Link::Binding));
    assert_eq!(live.refusals, [refusal(&rogue)]);
    let text = live.text();
    for part in [
        "BROKE binding-missing",
        FRONTEND,
        "artifact-unsigned",
        &format!("cert-agent workload explain {rogue}"),
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    drop(stream);
    replica.stop().await;
    let (replica, _stream) = world.synced().await;
    let later = explained(&replica, &said.decision).await.unwrap();
    assert_eq!(
        (later.broken, &later.refusals),
        (Some(Link::Binding), &live.refusals)
    );
    assert_eq!(later.next, live.next);
    let kept = log::find(&world.path("records.jsonl"), &said.decision)
        .unwrap()
        .unwrap();
    let offline = Explanation::of(serde_json::from_str(&kept).unwrap(), &[]);
    assert_eq!(offline.text(), live.text());
}

#[tokio::test]
async fn refusal_that_came_after_the_denial_is_told_too() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let said = replica
        .ask(&Ask::charge(Some(&world.pki.svid(FRONTEND))))
        .await;
    assert!(
        explained(&replica, &said.decision)
            .await
            .unwrap()
            .refusals
            .is_empty()
    );
    let rogue = refusal(&Digest::sha256_of(b"rogue"));
    stream
        .batch(vec![FeedItem::Refusal(rogue.clone())], &world.agent.key)
        .await
        .unwrap();
    assert_eq!(
        explained(&replica, &said.decision).await.unwrap().refusals,
        [rogue]
    );
}

#[tokio::test]
async fn each_kind_of_denial_names_its_link_and_a_next_step() {
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    let rogue = world.registry.image("prod/rogue", "1.0", "rogue");
    let (replica, _stream) = world.synced().await;
    let asks = [
        (
            Ask::new(
                Some(&world.frontend),
                "DELETE",
                "payments.acme.test",
                "/v1/charges/7",
            ),
            "no-rule-matched",
            Link::Rule,
        ),
        (Ask::charge(None), "identity-missing", Link::Identity),
        (
            Ask::pull(&world.puller, "/v2/prod/rogue/manifests/1.0"),
            "artifact-unsigned",
            Link::TargetArtifact,
        ),
        (
            Ask::pull(
                &world.puller,
                &format!("/v2/prod/rogue/blobs/{}", rogue.layer),
            ),
            "blob-outside-closure",
            Link::TargetArtifact,
        ),
    ];
    for (ask, reason, link) in asks {
        let said = replica.ask(&ask).await;
        assert_eq!(said.reason, reason);
        let explanation = explained(&replica, &said.decision).await.unwrap();
        assert_eq!(explanation.broken, Some(link), "{reason}");
        assert!(!explanation.next.is_empty(), "{reason}");
        assert!(
            explanation.text().contains(&format!("BROKE {reason}")),
            "{}",
            explanation.text()
        );
    }
}

#[tokio::test]
async fn permit_is_explained_from_the_record_file() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let said = replica.ask(&Ask::charge(Some(&world.frontend))).await;
    let explanation = explained(&replica, &said.decision).await.unwrap();
    assert_eq!((explanation.broken, explanation.next.len()), (None, 0));
    assert_eq!(explanation.record.rule.as_deref(), Some("web-charges"));
}

#[tokio::test]
async fn decision_that_nobody_made_is_not_found() {
    let world = World::new().await;
    let replica = world.start().await;
    let error = explained(&replica, "nothing").await.unwrap_err();
    assert!(matches!(error, AdminError::NotFound { .. }), "{error:?}");
}

#[tokio::test]
async fn denials_and_status_are_told() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    for _ in 0..3 {
        replica.ask(&Ask::charge(None)).await;
    }
    let mut client = AdminClient::connect(&replica.app.addresses.admin)
        .await
        .unwrap();
    assert_eq!(client.denials(2).await.unwrap().len(), 2);
    assert_eq!(client.denials(0).await.unwrap().len(), 3);
    let status = client.status().await.unwrap();
    assert!(status.ready && status.missing.is_empty());
    assert_eq!((status.bindings, status.agents.len()), (2, 1));
    assert!(status.agents[0].synced);
    assert_eq!(status.agents[0].policy_hash, status.policy_hash);
}
