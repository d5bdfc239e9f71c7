//! Complete requests on the Check path, made from seeds and dice.

use std::convert::Infallible;

use authz_service::ext_authz::framing::MAX_MESSAGE_BYTES;
use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http2::SendRequest;
use prost::Message as _;

use super::seeds::Seeds;

/// A body in one or more pieces.
pub type Body =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// One complete request.
pub struct Sent {
    pub number: usize,
    method: &'static str,
    pub metadata: Vec<(String, String)>,
    pub body: Bytes,
    pieces: usize,
}

impl Sent {
    pub fn plain(body: Bytes) -> Self {
        Self {
            number: 0,
            method: "POST",
            metadata: Vec::new(),
            body,
            pieces: 1,
        }
    }

    pub fn new(number: usize, seeds: &Seeds, dice: &mut Dice) -> Self {
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

    pub async fn answer(self, mut proxy: SendRequest<Body>) -> (Self, CheckResponse) {
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

/// A generator whose sequence is the same in every run.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % bound
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.next() >> 56).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.byte()).collect()
    }
}

pub fn framed(message: &[u8]) -> Bytes {
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
