//! The wire: whatever bytes reach the Check path, the answer is a decision that no proxy can take for leave.

use std::path::Path;

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use futures_util::StreamExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::support::world::World;

mod seeds;
mod sent;

use seeds::Seeds;
use sent::{Body, Dice, Sent, framed};

/// Set to run more: `COUNTERSIGN_WIRE_CASES=100000`.
#[expect(
    clippy::disallowed_methods,
    reason = "a knob of this test, not configuration of the program"
)]
fn cases() -> usize {
    std::env::var("COUNTERSIGN_WIRE_CASES").map_or(DEFAULT_CASES, |cases| cases.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bytes_on_the_check_path_are_answered_with_leave() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let mut connections = JoinSet::new();
    let socket = replica.app.addresses.check_unix.clone().unwrap();
    let proxy = connect(&socket, &mut connections).await;
    let seeds = Seeds::new(&world);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let requests = (0..cases()).map(|number| Sent::new(number, &seeds, &mut dice));
    let answers = futures_util::stream::iter(requests)
        .map(|sent| sent.answer(proxy.clone()))
        .buffer_unordered(IN_FLIGHT);
    let tally = answers
        .fold(Tally::default(), async |tally, (sent, answer)| {
            tally.add(&seeds, &sent, &answer)
        })
        .await;
    assert!(
        tally.permits > 0 && tally.denials > 0 && tally.malformed > 0,
        "all kinds were seen: {tally:?}"
    );
}

#[tokio::test]
async fn empty_body_and_empty_message_are_denied() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let mut connections = JoinSet::new();
    let proxy = connect(
        replica.app.addresses.check_unix.as_ref().unwrap(),
        &mut connections,
    )
    .await;
    for body in [
        &b""[..],
        b"\0",
        b"\0\0\0\0\0",
        b"\x01\0\0\0\0",
        b"\0\0\0\0\x02\x0a\0",
        b"\0\xff\xff\xff\xff",
    ] {
        let sent = Sent::plain(Bytes::from_static(body));
        let (_, answer) = sent.answer(proxy.clone()).await;
        assert_eq!(
            Verdict::of(&answer),
            Verdict::Denied("request-malformed".to_owned()),
            "{body:?}"
        );
    }
}

#[tokio::test]
async fn callers_baggage_in_the_metadata_is_answered() {
    let world = World::new().await;
    let (replica, _stream) = world.synced().await;
    let mut connections = JoinSet::new();
    let proxy = connect(
        replica.app.addresses.check_unix.as_ref().unwrap(),
        &mut connections,
    )
    .await;
    let mut sent = Sent::plain(framed(&Seeds::new(&world).permitted[0].encode_to_vec()));
    sent.metadata = vec![("tracestate".to_owned(), "a".repeat(200 * 1024))];
    let (_, answer) = sent.answer(proxy).await;
    assert_eq!(Verdict::of(&answer), Verdict::Permitted);
}

async fn connect(socket: &Path, connections: &mut JoinSet<()>) -> SendRequest<Body> {
    let stream = UnixStream::connect(socket).await.unwrap();
    let (proxy, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    connections.spawn(async move { connection.await.unwrap() });
    proxy
}

/// What an answer says, once the four things that it must never be are ruled out.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Permitted,
    Denied(String),
}

impl Verdict {
    fn of(answer: &CheckResponse) -> Self {
        assert!(answer.encoded_len() > 0, "an empty response");
        let code = answer.status.as_ref().unwrap().code;
        match answer.http_response.as_ref().unwrap() {
            HttpResponse::OkResponse(_) => {
                assert_eq!(code, 0, "an ok_response with a status that denies");
                Self::Permitted
            }
            HttpResponse::DeniedResponse(denied) => {
                assert_ne!(code, 0, "a denied_response with status 0");
                let status = denied.status.as_ref().unwrap().code;
                assert!([401, 403, 404, 503].contains(&status), "{status}");
                let body: serde_json::Value =
                    serde_json::from_str(&denied.body).unwrap_or_default();
                let detail = if body["errors"].is_array() {
                    &body["errors"][0]["detail"]
                } else {
                    &body
                };
                Self::Denied(detail["reason"].as_str().unwrap_or(&denied.body).to_owned())
            }
            HttpResponse::ErrorResponse(_) => panic!("an error_response"),
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    permits: usize,
    denials: usize,
    malformed: usize,
}

impl Tally {
    fn add(mut self, seeds: &Seeds, sent: &Sent, answer: &CheckResponse) -> Self {
        match Verdict::of(answer) {
            Verdict::Permitted => {
                assert!(
                    seeds.permit(sent.body.slice(5..)),
                    "{}: permitted {:?}",
                    sent.number,
                    sent.body
                );
                self.permits += 1;
            }
            Verdict::Denied(reason) if reason == "request-malformed" => self.malformed += 1,
            Verdict::Denied(_) => self.denials += 1,
        }
        self
    }
}

const DEFAULT_CASES: usize = 5_000;
const IN_FLIGHT: usize = 16;
