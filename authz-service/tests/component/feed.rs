//! The feed: what of an agent's words is taken, and what is refused.

use std::time::Duration;

use evidence::binding::{FeedItem, Refusal};
use evidence::{Digest, Evidence};
use tonic::Code;

use crate::support::agent::{self, binding};
use crate::support::pki::{AGENT, FRONTEND, id, signed};
use crate::support::proxy::Ask;
use crate::support::world::World;
use crate::support::{eventually, now};

#[tokio::test]
async fn binding_with_good_evidence_permits() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let said = replica.ask(&Ask::charge(Some(&world.frontend))).await;
    assert_eq!((said.status, said.rule.as_str()), (200, "web-charges"));
}

#[tokio::test]
async fn before_its_agent_has_synced_a_miss_is_our_fault() {
    let world = World::new().await;
    let replica = world.start().await;
    let said = replica.ask(&Ask::charge(Some(&world.frontend))).await;
    assert_eq!((said.status, said.reason.as_str()), (503, "not-synced"));
}

#[tokio::test]
async fn key_that_nobody_vouches_for_is_denied() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let thief = world.pki.svid(FRONTEND);
    let said = replica.ask(&Ask::charge(Some(&thief))).await;
    assert_eq!(
        (said.status, said.reason.as_str()),
        (403, "binding-missing")
    );
}

#[tokio::test]
async fn swapped_in_is_answered_once_it_decides() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let other = world.pki.svid(FRONTEND);
    let item = FeedItem::Binding(binding(&other, AGENT, &world.program));
    let answer = stream.batch(vec![item], &world.agent.key).await.unwrap();
    assert_eq!(answer.generation, replica.app.snapshots.load().generation);
    assert_eq!(replica.ask(&Ask::charge(Some(&other))).await.status, 200);
}

#[tokio::test]
async fn withdrawn_key_is_denied() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let gone = FeedItem::Withdrawn {
        spki: world.frontend.spki(),
    };
    stream.batch(vec![gone], &world.agent.key).await.unwrap();
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .reason,
        "binding-missing"
    );
}

#[tokio::test]
async fn what_a_new_full_state_leaves_out_is_gone() {
    let world = World::new().await;
    let (replica, _first) = world.synced().await;
    let mut second = world.stream(&replica).await;
    let puller = FeedItem::Binding(binding(&world.puller, AGENT, &world.program));
    second.batch(vec![puller], &world.agent.key).await.unwrap();
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .status,
        200,
        "until the end marker"
    );
    second.end_of_state().await;
    eventually("the binding is gone", async || {
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .reason
            == "binding-missing"
    })
    .await;
}

#[tokio::test]
async fn older_stream_of_an_agent_is_no_longer_heard() {
    let world = World::new().await;
    let (replica, mut first) = world.synced().await;
    let mut second = world.stream(&replica).await;
    second.batch(world.state(), &world.agent.key).await.unwrap();
    let status = first.batch(Vec::new(), &world.agent.key).await.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
}

#[tokio::test]
async fn agent_that_is_not_on_the_roster_is_refused_in_the_handshake() {
    let world = World::new().await;
    let replica = world.start().await;
    replica.serves_the_feed().await;
    let stranger = world
        .pki
        .svid("spiffe://acme.test/countersign/agent/node-2");
    // TLS 1.3: the client may learn of its refusal only with the first answer.
    if let Ok(mut stream) = agent::connect(replica.app.addresses.feed, &world.pki, &stranger).await
    {
        assert!(stream.answer().await.is_err());
    }
    let refused = "countersign_tls_handshakes_total{listener=\"feed\",outcome=\"refused\"} 1";
    eventually("a refused handshake", async || {
        replica.page("/metrics").await.1.contains(refused)
    })
    .await;
}

#[tokio::test]
async fn batch_signed_with_another_key_is_refused() {
    let world = World::new().await;
    let replica = world.start().await;
    let mut stream = world.stream(&replica).await;
    let status = stream
        .batch(world.state(), &world.release)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("does not open"), "{status}");
}

#[tokio::test]
async fn batch_with_the_chain_of_another_identity_is_refused() {
    let world = World::new().await;
    let replica = world.start().await;
    let mut stream = world.stream(&replica).await;
    stream.with_chain(&world.frontend);
    let status = stream
        .batch(world.state(), &world.frontend.key)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains(FRONTEND), "{status}");
}

#[tokio::test]
async fn batch_with_a_chain_below_another_root_is_refused() {
    let world = World::new().await;
    let replica = world.start().await;
    let mut stream = world.stream(&replica).await;
    let forged = crate::support::pki::Pki::new().svid(AGENT);
    stream.with_chain(&forged);
    let status = stream.batch(world.state(), &forged.key).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("not trusted"), "{status}");
}

#[tokio::test]
async fn batch_for_another_node_is_refused() {
    let world = World::new().await;
    let replica = world.start().await;
    let mut stream = world.stream(&replica).await;
    stream.with_node("spiffe://acme.test/countersign/agent/node-2");
    let status = stream
        .batch(world.state(), &world.agent.key)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn gap_and_repetition_in_the_numbers_are_refused() {
    let world = World::new().await;
    let replica = world.start().await;
    for wrong in [1, 3] {
        let mut stream = world.stream(&replica).await;
        stream.batch(world.state(), &world.agent.key).await.unwrap();
        let status = stream
            .numbered(wrong, Vec::new(), &world.agent.key)
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::OutOfRange, "{wrong}");
    }
    let mut stream = world.stream(&replica).await;
    let status = stream
        .numbered(2, world.state(), &world.agent.key)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "the first is 1");
}

#[tokio::test]
async fn stream_that_does_not_begin_with_a_hello_is_refused() {
    let world = World::new().await;
    let replica = world.start().await;
    replica.serves_the_feed().await;
    let mut stream = agent::connect(replica.app.addresses.feed, &world.pki, &world.agent)
        .await
        .unwrap();
    let status = stream
        .batch(world.state(), &world.agent.key)
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(replica.app.snapshots.load().bindings.is_empty());
}

#[tokio::test]
async fn identity_that_the_agent_may_not_vouch_for_is_refused_and_explained() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let proxy = world.pki.svid("spiffe://acme.test/proxy/envoy");
    let item = FeedItem::Binding(binding(&proxy, AGENT, &world.program));
    stream.batch(vec![item], &world.agent.key).await.unwrap();
    assert_eq!(
        replica.ask(&Ask::charge(Some(&proxy))).await.reason,
        "binding-missing"
    );
    let snapshot = replica.app.snapshots.load();
    let refusals = snapshot.refusals(&id("spiffe://acme.test/proxy/envoy"));
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].reason, "requester-not-permitted");
    assert!(
        refusals[0].detail.contains("mayVouchFor"),
        "{}",
        refusals[0].detail
    );
}

#[tokio::test]
async fn evidence_that_does_not_verify_here_is_worth_nothing() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let good = signed(&world.program, &world.release);
    let Evidence::Dsse { envelope } = good else {
        panic!("a statement in DSSE")
    };
    let text = String::from_utf8(envelope).unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sig = json["signatures"][0]["sig"].as_str().unwrap().to_owned();
    let at = sig.len() / 2;
    let other = if sig.as_bytes()[at] == b'A' { "B" } else { "A" };
    json["signatures"][0]["sig"] = format!("{}{other}{}", &sig[..at], &sig[at + 1..]).into();
    let broken = Evidence::Dsse {
        envelope: json.to_string().into_bytes(),
    };
    for (evidence, cause) in [
        (vec![broken], "artifact-signature-invalid"),
        (
            vec![signed(&world.program, &world.frontend.key)],
            "artifact-signer-untrusted",
        ),
        (
            vec![signed(&Digest::sha256_of(b"another"), &world.release)],
            "artifact-image-mismatch",
        ),
        (vec![], "artifact-unsigned"),
    ] {
        let told = |evidence| FeedItem::Evidence {
            digest: world.program.clone(),
            evidence,
        };
        let items = vec![told(Vec::new()), told(evidence)];
        stream.batch(items, &world.agent.key).await.unwrap();
        let said = replica.ask(&Ask::charge(Some(&world.frontend))).await;
        assert_eq!(
            (said.reason.as_str(), said.cause.as_str()),
            ("requirement-unmet", cause)
        );
    }
    let item = FeedItem::Evidence {
        digest: world.program.clone(),
        evidence: vec![signed(&world.program, &world.release)],
    };
    stream.batch(vec![item], &world.agent.key).await.unwrap();
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn expired_binding_is_denied() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let mut expired = binding(&world.frontend, AGENT, &world.program);
    expired.not_after = now() - Duration::from_secs(1);
    stream
        .batch(vec![FeedItem::Binding(expired)], &world.agent.key)
        .await
        .unwrap();
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .reason,
        "binding-expired"
    );
}

#[tokio::test]
async fn bindings_outlive_the_stream_that_brought_them() {
    let world = World::new().await;
    let (replica, stream) = world.synced().await;
    drop(stream);
    assert_eq!(
        replica
            .ask(&Ask::charge(Some(&world.frontend)))
            .await
            .status,
        200
    );
    assert!(replica.app.readiness.is_ready());
}

#[tokio::test]
async fn refusal_is_kept_by_the_identity_that_was_wanted() {
    let world = World::new().await;
    let (replica, mut stream) = world.synced().await;
    let refusal = refusal(&Digest::sha256_of(b"rogue"));
    stream
        .batch(vec![FeedItem::Refusal(refusal.clone())], &world.agent.key)
        .await
        .unwrap();
    stream
        .batch(vec![FeedItem::Refusal(refusal.clone())], &world.agent.key)
        .await
        .unwrap();
    assert_eq!(
        replica.app.snapshots.load().refusals(&id(FRONTEND)),
        [refusal],
        "once, however often it is said"
    );
}

/// What an agent says when a program that nobody signed wants to be the frontend.
pub fn refusal(digest: &Digest) -> Refusal {
    Refusal {
        wanted: Some(id(FRONTEND)),
        node: id(AGENT),
        workload: "frontend-2".to_owned(),
        grant: Some("frontend".to_owned()),
        digests: vec![digest.clone()],
        reason: "artifact-unsigned".to_owned(),
        detail: "no signature was found".to_owned(),
        at: std::time::SystemTime::UNIX_EPOCH
            + Duration::from_secs(
                now()
                    .duration_since(std::time::SystemTime::UNIX_EPOCH)
                    .unwrap()
                    .as_secs(),
            ),
    }
}
