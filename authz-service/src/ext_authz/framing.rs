//! gRPC's framing of one unary call: a body to its one message, one message to a body with its trailers.
//!
//! tonic's codec answers what it cannot read with a gRPC error before our code runs, and a proxy with `failure_mode_allow` lets that
//! pass. Here everything that a complete body can hold has a name instead.

use std::convert::Infallible;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Body;
use prost::Message;

use super::request::InvalidRequest;

/// The longest message that is read. Envoy admits 60 KiB of headers and the certificate takes 32 KiB at most; a body is never read.
pub const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Reads the one message of a unary call, to the end of the body.
///
/// # Errors
/// The outer error: the body broke off, so there is no complete request and nobody to answer.
pub async fn read_message<B>(mut body: B) -> Result<Result<Bytes, InvalidRequest>, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = Read::default();
    while let Some(frame) = body.frame().await {
        // Trailers of a request mean nothing.
        if let Ok(data) = frame?.into_data() {
            read.push(data);
        }
    }
    Ok(read.message())
}

/// The successful end of a unary call, carrying `message`. There is no other end on the Check path.
pub fn reply(message: &impl Message) -> Response<tonic::body::Body> {
    let body = Full::new(frame(message))
        .with_trailers(std::future::ready(Some(Ok::<_, Infallible>(status_ok()))));
    let mut response = Response::new(tonic::body::Body::new(body));
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    response
}

/// What was read of a body so far. Past the limit bytes are counted, not kept: the answer waits for the body's end either way.
#[derive(Debug, Default)]
struct Read {
    /// The first data frame, kept as it came: nearly always the whole body.
    first: Bytes,
    /// Everything, once there was a second frame.
    more: BytesMut,
    excess: bool,
}

impl Read {
    fn push(&mut self, data: Bytes) {
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
        } else {
            if self.more.is_empty() {
                self.more.extend_from_slice(&self.first);
            }
            self.more.extend_from_slice(&data);
        }
        if self.first.len().max(self.more.len()) > MAX_BODY_BYTES {
            self.excess = true;
            self.first.clear();
            self.more.clear();
        }
    }

    fn message(self) -> Result<Bytes, InvalidRequest> {
        if self.excess {
            return Err(InvalidRequest::TooLarge {
                limit: MAX_MESSAGE_BYTES,
            });
        }
        let body = if self.more.is_empty() {
            self.first
        } else {
            self.more.freeze()
        };
        one_message(body)
    }
}

/// Takes the message out of its frame: one byte that says whether it is compressed, four of length, the message, no more.
fn one_message(mut body: Bytes) -> Result<Bytes, InvalidRequest> {
    let flag = body
        .try_get_u8()
        .map_err(|_short| InvalidRequest::NoMessage)?;
    let length = body
        .try_get_u32()
        .map_err(|_short| InvalidRequest::NoMessage)?;
    if flag != 0 {
        return Err(InvalidRequest::Compressed);
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE_BYTES {
        return Err(InvalidRequest::TooLarge {
            limit: MAX_MESSAGE_BYTES,
        });
    }
    match length.cmp(&body.len()) {
        std::cmp::Ordering::Equal => Ok(body),
        std::cmp::Ordering::Less => Err(InvalidRequest::TrailingBytes),
        std::cmp::Ordering::Greater => Err(InvalidRequest::NoMessage),
    }
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(HEADER_BYTES.saturating_add(length));
    frame.put_u8(0);
    // Our own messages are far below 4 GiB.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put_slice(&message.encode_to_vec());
    frame.freeze()
}

fn status_ok() -> HeaderMap {
    HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("0"))])
}

const HEADER_BYTES: usize = 5;
const MAX_BODY_BYTES: usize = MAX_MESSAGE_BYTES + HEADER_BYTES;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: header::HeaderName = header::HeaderName::from_static("grpc-status");

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: &[u8]) -> Full<Bytes> {
        Full::new(Bytes::copy_from_slice(bytes))
    }

    async fn read(bytes: &[u8]) -> Result<Bytes, InvalidRequest> {
        read_message(body(bytes))
            .await
            .expect("a full body never breaks off")
    }

    #[tokio::test]
    async fn one_message_is_read() {
        assert_eq!(
            read(b"\0\0\0\0\x03abc").await,
            Ok(Bytes::from_static(b"abc"))
        );
        assert_eq!(read(b"\0\0\0\0\0").await, Ok(Bytes::new()));
    }

    #[tokio::test]
    async fn message_in_pieces_is_read() {
        let pieces = [&b"\0\0"[..], b"", b"\0\0\x03a", b"bc"].map(|piece| {
            Ok::<_, Infallible>(hyper::body::Frame::data(Bytes::copy_from_slice(piece)))
        });
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(pieces));
        assert_eq!(read_message(body).await, Ok(Ok(Bytes::from_static(b"abc"))));
    }

    #[tokio::test]
    async fn missing_and_short_messages_are_no_message() {
        for short in [&b""[..], b"\0", b"\0\0\0\0", b"\0\0\0\0\x03ab"] {
            assert_eq!(
                read(short).await,
                Err(InvalidRequest::NoMessage),
                "{short:?}"
            );
        }
    }

    #[tokio::test]
    async fn second_message_is_trailing_bytes() {
        assert_eq!(
            read(b"\0\0\0\0\x01a\0\0\0\0\x01b").await,
            Err(InvalidRequest::TrailingBytes)
        );
    }

    #[tokio::test]
    async fn compressed_message_is_refused() {
        assert_eq!(
            read(b"\x01\0\0\0\x01a").await,
            Err(InvalidRequest::Compressed)
        );
        assert_eq!(
            read(b"\xff\0\0\0\x01a").await,
            Err(InvalidRequest::Compressed)
        );
    }

    #[tokio::test]
    async fn too_large_is_refused_by_length_and_by_bytes() {
        let refused = Err(InvalidRequest::TooLarge {
            limit: MAX_MESSAGE_BYTES,
        });
        assert_eq!(read(b"\0\xff\xff\xff\xff").await, refused);
        assert_eq!(read(&vec![0; MAX_BODY_BYTES + 1]).await, refused);
    }

    #[tokio::test]
    async fn reply_is_one_message_and_status_zero() {
        let collected = reply(&String::from("x"))
            .into_body()
            .collect()
            .await
            .expect("it does not fail");
        assert_eq!(collected.trailers().expect("trailers")["grpc-status"], "0");
        assert_eq!(collected.to_bytes().as_ref(), b"\0\0\0\0\x03\x0a\x01x");
    }
}
