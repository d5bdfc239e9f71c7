use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;

use super::*;
use crate::ext_authz::fake_judge::{FakeJudge, Mood, Noon};
use crate::testing::noon;

fn service(judge: &Arc<FakeJudge>, in_flight: usize) -> CheckService {
    let judge: Arc<dyn Judge> = Arc::<FakeJudge>::clone(judge);
    CheckService::new(judge, Arc::new(Noon), in_flight)
}

fn connection(standing: Standing) -> Connection {
    Connection {
        proxy: Proxy::Local { uid: 902 },
        standing,
    }
}

/// `attributes.request.http` with nothing in it.
const EMPTY_HTTP: &[u8] = b"\0\0\0\0\x06\x0a\x04\x22\x02\x12\x00";

fn request(body: &'static [u8]) -> Request<Full<Bytes>> {
    Request::new(Full::new(Bytes::from_static(body)))
}

/// The reason in the denial's body; panics on anything that is not a denial of ours.
async fn reason(response: Response<tonic::body::Body>) -> String {
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await.unwrap();
    assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    let response = CheckResponse::decode(body.to_bytes().slice(5..)).unwrap();
    assert_ne!(response.status.unwrap().code, 0);
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
        panic!("not a denial")
    };
    let problem: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    problem["reason"].as_str().unwrap().to_owned()
}

async fn ask(judge: &Arc<FakeJudge>, body: &'static [u8]) -> String {
    let response = service(judge, 8)
        .serve(request(body), &connection(Standing::Trusted))
        .await
        .unwrap();
    reason(response).await
}

#[tokio::test]
async fn judge_is_asked_and_answers() {
    let judge = FakeJudge::new(Mood::Denies);
    assert_eq!(ask(&judge, EMPTY_HTTP).await, "no-rule-matched");
    assert_eq!(judge.records(), ["denied no-rule-matched read"]);
}

#[tokio::test]
async fn unreadable_request_reaches_the_judge_as_such() {
    for (body, invalid) in [
        (&b""[..], "NoMessage"),
        (b"\0\0\0\0\0", "NoHttpRequest"),
        (b"\x01\0\0\0\0", "Compressed"),
    ] {
        let judge = FakeJudge::new(Mood::Denies);
        ask(&judge, body).await;
        assert_eq!(
            judge.records(),
            [format!("denied no-rule-matched {invalid}")]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn late_judge_is_denied_deadline() {
    let judge = FakeJudge::new(Mood::Sleeps);
    let mut late = request(EMPTY_HTTP);
    late.headers_mut()
        .insert("grpc-timeout", "250m".parse().unwrap());
    let start = Instant::now();
    let response = service(&judge, 8)
        .serve(late, &connection(Standing::Trusted))
        .await
        .unwrap();
    assert_eq!(Instant::now() - start, Duration::from_millis(230));
    assert_eq!(reason(response).await, "deadline");
    assert_eq!(judge.records(), ["denied deadline read"]);
}

type Never = http_body_util::StreamBody<
    futures_util::stream::Pending<Result<hyper::body::Frame<Bytes>, Infallible>>,
>;

/// A request whose body never comes, of a proxy that says it will wait.
fn endless(timeout: &str) -> Request<Never> {
    let body = http_body_util::StreamBody::new(futures_util::stream::pending());
    let mut request = Request::new(body);
    request
        .headers_mut()
        .insert("grpc-timeout", timeout.parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn body_that_never_ends_is_denied_deadline() {
    for (timeout, waited) in [("1H", 1000), ("250m", 230)] {
        let judge = FakeJudge::new(Mood::Denies);
        let start = Instant::now();
        let response = service(&judge, 8)
            .serve(endless(timeout), &connection(Standing::Trusted))
            .await
            .unwrap();
        assert_eq!(Instant::now() - start, Duration::from_millis(waited));
        assert_eq!(reason(response).await, "deadline");
        assert_eq!(judge.records(), ["denied deadline NoMessage"]);
    }
}

#[tokio::test(start_paused = true)]
async fn untrusted_proxy_is_denied_without_its_body() {
    let judge = FakeJudge::new(Mood::Denies);
    let start = Instant::now();
    let response = service(&judge, 8)
        .serve(endless("1H"), &connection(Standing::Untrusted))
        .await
        .unwrap();
    assert_eq!(Instant::now() - start, STRANGERS_PATIENCE);
    assert_eq!(reason(response).await, "proxy-untrusted");
    assert_eq!(judge.records(), ["denied proxy-untrusted NoMessage"]);
}

#[tokio::test]
async fn untrusted_proxies_take_no_slot_of_the_trusted() {
    let judge = FakeJudge::new(Mood::Denies);
    let service = service(&judge, 1);
    let untrusted = connection(Standing::Untrusted);
    let mut held: Vec<_> = (0..MAX_STRANGERS)
        .map(|_| Box::pin(service.serve(endless("1H"), &untrusted)))
        .collect();
    for stranger in &mut held {
        assert!(futures_util::poll!(stranger).is_pending());
    }
    // One stranger more is answered at once, unheard.
    let answer = service
        .serve(endless("1H"), &untrusted)
        .now_or_never()
        .expect("it does not wait")
        .unwrap();
    assert_eq!(reason(answer).await, "proxy-untrusted");
    let answer = service
        .serve(request(EMPTY_HTTP), &connection(Standing::Trusted))
        .await
        .unwrap();
    assert_eq!(reason(answer).await, "no-rule-matched");
}

#[tokio::test]
async fn untrusted_proxy_is_not_denied_overloaded() {
    let judge = FakeJudge::new(Mood::Sleeps);
    let service = service(&judge, 1);
    let trusted = connection(Standing::Trusted);
    let mut first = Box::pin(service.serve(request(EMPTY_HTTP), &trusted));
    assert!(futures_util::poll!(&mut first).is_pending());
    let answer = service
        .serve(request(EMPTY_HTTP), &connection(Standing::Untrusted))
        .await
        .unwrap();
    assert_eq!(reason(answer).await, "proxy-untrusted");
}

#[tokio::test]
async fn panic_is_denied_internal() {
    let judge = FakeJudge::new(Mood::Panics);
    assert_eq!(ask(&judge, EMPTY_HTTP).await, "internal");
    assert_eq!(judge.records(), ["denied internal read"]);
}

#[tokio::test]
async fn panic_in_the_denial_itself_is_still_a_denial() {
    let judge = FakeJudge::new(Mood::PanicsAtEverything);
    assert_eq!(ask(&judge, EMPTY_HTTP).await, "internal");
}

#[tokio::test]
async fn one_too_many_is_denied_overloaded() {
    let judge = FakeJudge::new(Mood::Sleeps);
    let service = service(&judge, 1);
    let connection = connection(Standing::Trusted);
    let mut first = Box::pin(service.serve(request(EMPTY_HTTP), &connection));
    assert!(futures_util::poll!(&mut first).is_pending());
    let second = service
        .serve(request(EMPTY_HTTP), &connection)
        .await
        .unwrap();
    assert_eq!(reason(second).await, "overloaded");
    drop(first);
    assert_eq!(
        judge.records(),
        ["denied overloaded NoMessage", "cancelled read"]
    );
    assert_eq!(judge.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn proxy_that_nobody_named_is_denied_proxy_untrusted() {
    let judge = FakeJudge::new(Mood::Denies);
    let response = service(&judge, 8)
        .serve(request(EMPTY_HTTP), &connection(Standing::Untrusted))
        .await
        .unwrap();
    assert_eq!(reason(response).await, "proxy-untrusted");
    assert_eq!(judge.records(), ["denied proxy-untrusted read"]);
}

#[tokio::test]
async fn caller_that_leaves_is_recorded_as_cancelled() {
    let judge = FakeJudge::new(Mood::Sleeps);
    let service = service(&judge, 8);
    let connection = connection(Standing::Trusted);
    let mut leaving = Box::pin(service.serve(request(EMPTY_HTTP), &connection));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    drop(leaving);
    assert_eq!(judge.records(), ["cancelled read"]);
}

#[tokio::test]
async fn body_that_breaks_off_is_recorded_as_cancelled() {
    let judge = FakeJudge::new(Mood::Denies);
    let broken = futures_util::stream::iter([Err::<hyper::body::Frame<Bytes>, _>("reset")]);
    let request = Request::new(http_body_util::StreamBody::new(broken));
    assert_eq!(
        service(&judge, 8)
            .serve(request, &connection(Standing::Trusted))
            .await
            .err(),
        Some("reset")
    );
    assert_eq!(judge.records(), ["cancelled NoMessage"]);
}

#[tokio::test]
async fn metadata_gives_the_parent_and_the_time_of_arrival() {
    let judge = FakeJudge::new(Mood::Denies);
    let mut traced = request(EMPTY_HTTP);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    traced
        .headers_mut()
        .insert("traceparent", parent.parse().unwrap());
    service(&judge, 8)
        .serve(traced, &connection(Standing::Trusted))
        .await
        .unwrap();
    let calls = judge.calls.lock();
    assert_eq!(calls[0].traceparent.as_deref(), Some(parent));
    assert_eq!(calls[0].received, noon());
    assert_eq!(calls[0].proxy, Proxy::Local { uid: 902 });
}
