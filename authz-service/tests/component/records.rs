//! Exactly one record per decision, whatever was asked and however it ended.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::support::pki::FRONTEND;
use crate::support::proxy::{Ask, Proxy};
use crate::support::registry::Answer;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_mixed_requests_leave_one_record_each() {
    const ASKED: usize = 10_000;
    const LANES: usize = 8;
    let world = World::new().await;
    let image = world.registry.image("prod/payments", "1.4", "payments");
    world
        .registry
        .sign("prod/payments", &image.digest, &world.release);
    world.registry.image("prod/rogue", "1.0", "rogue");
    let (replica, _stream) = world.synced().await;
    let thief = world.pki.svid(FRONTEND);
    let mix = [
        Ask::charge(Some(&world.frontend)),
        Ask::charge(Some(&thief)),
        Ask::charge(None),
        Ask::new(
            Some(&world.frontend),
            "DELETE",
            "payments.acme.test",
            "/v1/charges/7",
        ),
        Ask::pull(&world.puller, "/v2/prod/payments/manifests/1.4"),
        Ask::pull(
            &world.puller,
            &format!("/v2/prod/payments/blobs/{}", image.layer),
        ),
        Ask::pull(&world.puller, "/v2/prod/rogue/manifests/1.0"),
        Ask::pull(&world.puller, "/v2/prod%2Frogue/manifests/1.0"),
        Ask {
            certificate: "not a certificate".to_owned(),
            ..Ask::charge(Some(&world.frontend))
        },
    ];
    let proxy = replica.proxy().await;
    let mut asking = JoinSet::new();
    for lane in 0..LANES {
        let (proxy, mix): (Proxy, Vec<Ask>) = (proxy.clone(), mix.to_vec());
        asking.spawn(async move {
            let mut ids = Vec::new();
            for number in 0..ASKED / LANES {
                let said = match (number + lane) % 10 {
                    9 => proxy.ask_nothing().await,
                    kind => proxy.ask(&mix[kind]).await,
                };
                ids.push(said.decision);
            }
            ids
        });
    }
    let answered: Vec<String> = asking.join_all().await.concat();
    replica.flush();
    let recorded: Vec<String> = world
        .records()
        .iter()
        .map(|record| record["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(recorded.len(), ASKED);
    assert_eq!(
        recorded.iter().collect::<BTreeSet<_>>(),
        answered.iter().collect::<BTreeSet<_>>()
    );
    let reasons: BTreeSet<_> = world
        .records()
        .iter()
        .map(|record| record["reason"].to_string())
        .collect();
    assert_eq!(reasons.len(), 8, "{reasons:?}");
}

#[tokio::test]
async fn caller_that_leaves_is_recorded_as_cancelled() {
    let world = World::new().await;
    let late = Answer::ok("text/plain", Vec::new()).late(Duration::from_secs(30));
    world.registry.put_manifest("prod/slow", "1", late);
    let (replica, _stream) = world.synced().await;
    let proxy = replica.proxy().await;
    let ask = Ask::pull(&world.puller, "/v2/prod/slow/manifests/1");
    assert!(
        tokio::time::timeout(Duration::from_millis(100), proxy.ask(&ask))
            .await
            .is_err()
    );
    crate::support::eventually("a record", async || {
        replica.flush();
        !world.records().is_empty()
    })
    .await;
    let records = world.records();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["decision"], "cancelled");
    assert_eq!(records[0]["reason"], "cancelled");
    assert_eq!(records[0]["request"]["path"], "/v2/prod/slow/manifests/1");
}

#[tokio::test]
async fn span_is_a_child_of_the_proxys_own() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let said = replica
        .proxy()
        .await
        .ask_traced(&Ask::charge(Some(&world.frontend)), parent)
        .await;
    let spans = replica.spans.get_finished_spans().unwrap();
    assert_eq!(spans.len(), 1);
    let span = &spans[0];
    assert_eq!(span.name, "check");
    assert_eq!(
        span.span_context.trace_id().to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(span.parent_span_id.to_string(), "b7ad6b7169203331");
    let attribute = |key: &str| {
        span.attributes
            .iter()
            .find(|pair| pair.key.as_str() == key)
            .unwrap()
            .value
            .to_string()
    };
    assert_eq!(attribute("countersign.decision_id"), said.decision);
    assert_eq!(attribute("countersign.rule"), "web-charges");
    replica.flush();
    assert_eq!(
        world.record(&said.decision)["trace_id"],
        "0af7651916cd43dd8448eb211c80319c"
    );
}
