//! The wire: whatever bytes reach the Check path, the answer is a decision that no proxy can take for leave.

use std::collections::HashMap;
use std::path::Path;

use authz_service::ext_authz::framing::MAX_MESSAGE_BYTES;
use authz_service::ext_authz::request::RawCheck;
use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as Attributes,
};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::support::pki::Svid;
use super::support::world::World;

type Body = StreamBody<
    futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>,
>;

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

/// Well-formed messages, from which the others are made.
struct Seeds {
    permitted: Vec<CheckRequest>,
    refused: Vec<CheckRequest>,
}

impl Seeds {
    fn new(world: &World) -> Self {
        let (frontend, puller) = (Some(&world.frontend), Some(&world.puller));
        Self {
            permitted: vec![message(
                frontend,
                "POST",
                "payments.acme.test",
                "/v1/charges",
            )],
            refused: vec![
                message(frontend, "DELETE", "payments.acme.test", "/v1/charges/7"),
                message(None, "POST", "payments.acme.test", "/v1/charges"),
                message(
                    puller,
                    "GET",
                    "localhost:5000",
                    "/v2/prod%2Frogue/manifests/1.0",
                ),
                message(puller, "GET", "localhost:5000", "/v2/dev/rogue/tags/list"),
                message(puller, "CONNECT", "localhost:5000", ""),
            ],
        }
    }

    fn any(&self, dice: &mut Dice) -> Vec<u8> {
        let all: Vec<_> = self.permitted.iter().chain(&self.refused).collect();
        // Half of them start from a permit: what must not become another one is made from one.
        if dice.below(2) == 0 {
            self.permitted[0].encode_to_vec()
        } else {
            all[dice.below(all.len())].encode_to_vec()
        }
    }

    /// Whether a permit of this message is a permit of a seed: the same caller, method, host and path.
    fn permit(&self, message: Bytes) -> bool {
        let Ok(asked) = RawCheck::decode(message) else {
            return false;
        };
        self.permitted.iter().any(|seed| {
            let seed = RawCheck::decode(seed.encode_to_vec().into()).unwrap();
            let path = asked
                .path
                .split(|byte| *byte == b'?')
                .next()
                .unwrap_or_default();
            let host = asked
                .host
                .split(|byte| *byte == b':')
                .next()
                .unwrap_or_default();
            (asked.certificate == seed.certificate
                || same_pem(&asked.certificate, &seed.certificate))
                && (&asked.principal, &asked.method) == (&seed.principal, &seed.method)
                && (host, path) == (seed.host.as_ref(), seed.path.as_ref())
        })
    }
}

/// Escapes in another case, or of other letters, can spell the same certificate.
fn same_pem(one: &[u8], other: &[u8]) -> bool {
    let der = |field: &[u8]| {
        let mut text = Vec::new();
        let mut bytes = field.iter();
        while let Some(byte) = bytes.next() {
            let digit = |byte: Option<&u8>| char::from(*byte.unwrap()).to_digit(16).unwrap();
            text.push(if *byte == b'%' {
                u8::try_from(digit(bytes.next()) * 16 + digit(bytes.next())).unwrap()
            } else {
                *byte
            });
        }
        identity::x509_svid::chain_from_pem(&text).unwrap()
    };
    der(one) == der(other)
}

fn message(caller: Option<&Svid>, method: &str, host: &str, path: &str) -> CheckRequest {
    let source = Peer {
        principal: caller
            .map(|caller| caller.identity().to_string())
            .unwrap_or_default(),
        certificate: caller.map(Svid::field).unwrap_or_default(),
        ..Peer::default()
    };
    let headers = [
        (":method", method),
        (":path", path),
        ("accept", "application/json"),
        ("content-type", "text/plain"),
    ];
    let http = HttpRequest {
        method: method.to_owned(),
        host: host.to_owned(),
        path: path.to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect::<HashMap<_, _>>(),
        ..HttpRequest::default()
    };
    let request = Attributes {
        http: Some(http),
        ..Attributes::default()
    };
    let attributes = AttributeContext {
        source: Some(source),
        request: Some(request),
        ..AttributeContext::default()
    };
    CheckRequest {
        attributes: Some(attributes),
    }
}

/// One complete request.
struct Sent {
    number: usize,
    method: &'static str,
    metadata: Vec<(String, String)>,
    body: Bytes,
    pieces: usize,
}

impl Sent {
    fn plain(body: Bytes) -> Self {
        Self {
            number: 0,
            method: "POST",
            metadata: Vec::new(),
            body,
            pieces: 1,
        }
    }

    fn new(number: usize, seeds: &Seeds, dice: &mut Dice) -> Self {
        let body = match dice.below(12) {
            0 => Bytes::from(dice.bytes(64)),
            1 => framed(&dice.bytes(256)),
            2 => framed(&seeds.any(dice)),
            3 => cut(&framed(&seeds.any(dice)), dice),
            4 => framed(&cut(&seeds.any(dice), dice)),
            5 => mutated(framed(&seeds.any(dice)), dice),
            6 => [framed(&seeds.any(dice)), framed(&seeds.any(dice))]
                .concat()
                .into(),
            7 => framed(&[seeds.any(dice), seeds.any(dice)].concat()),
            8 if number.is_multiple_of(64) => framed(&vec![b'a'; MAX_MESSAGE_BYTES + 1]),
            _ => framed(&mutated(seeds.any(dice).into(), dice)),
        };
        let method = ["POST", "POST", "POST", "GET", "PUT"][dice.below(5)];
        Self {
            number,
            method,
            metadata: metadata(dice),
            body,
            pieces: 1 + dice.below(3),
        }
    }

    fn request(&self) -> Request<Body> {
        let piece = self.body.len().div_ceil(self.pieces).max(1);
        let pieces: Vec<_> = self
            .body
            .chunks(piece)
            .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
            .collect();
        let mut request = Request::builder().method(self.method).uri(CHECK);
        for (name, value) in &self.metadata {
            request = request.header(name, value);
        }
        request
            .body(StreamBody::new(futures_util::stream::iter(pieces)))
            .unwrap()
    }

    async fn answer(self, mut proxy: SendRequest<Body>) -> (Self, CheckResponse) {
        proxy.ready().await.unwrap();
        let response = proxy
            .send_request(self.request())
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.number));
        assert_eq!(response.status(), 200, "{}", self.number);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert!(
            !response.headers().contains_key("grpc-status"),
            "a gRPC error has no message"
        );
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(
            body.trailers().unwrap()["grpc-status"],
            "0",
            "{}",
            self.number
        );
        let bytes = body.to_bytes();
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap());
        assert_eq!(
            (bytes[0], usize::try_from(length).unwrap()),
            (0, bytes.len() - 5)
        );
        (self, CheckResponse::decode(&bytes[5..]).unwrap())
    }
}

/// What a proxy may say beside the message, and what it would not.
fn metadata(dice: &mut Dice) -> Vec<(String, String)> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut metadata = vec![pair("te", "trailers")];
    metadata.extend(match dice.below(6) {
        0 => vec![],
        1 => vec![pair("content-type", "application/json")],
        2 => vec![
            pair("content-type", "application/grpc"),
            pair("grpc-encoding", "gzip"),
        ],
        3 => vec![
            pair("content-type", "application/grpc"),
            pair("grpc-timeout", "garbage"),
        ],
        4 => vec![
            pair("content-type", "application/grpc"),
            pair("grpc-timeout", "1n"),
        ],
        _ => vec![
            pair("content-type", "application/grpc"),
            pair("grpc-timeout", "5S"),
            pair("traceparent", "00-zz"),
        ],
    });
    metadata
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

/// A generator whose sequence is the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() >> 56).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap());
    frame.put_slice(message);
    frame.freeze()
}

fn cut(bytes: &[u8], dice: &mut Dice) -> Bytes {
    Bytes::copy_from_slice(&bytes[..dice.below(bytes.len())])
}

fn mutated(bytes: Bytes, dice: &mut Dice) -> Bytes {
    let mut bytes = Vec::from(bytes);
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len());
        match dice.below(5) {
            0 => bytes.insert(at, dice.byte()),
            1 => drop(bytes.remove(at)),
            2 => bytes.extend_from_within(at..),
            3 => bytes[at] ^= 1 << dice.below(8),
            _ => bytes[at] = dice.byte(),
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
    bytes.into()
}

const CHECK: &str = "http://authz.test/envoy.service.auth.v3.Authorization/Check";
const DEFAULT_CASES: usize = 5_000;
const IN_FLIGHT: usize = 16;
