//! The fields of a `CheckRequest` that a decision reads, as a wire-compatible subset of Envoy's message.

use bytes::Bytes;
use policy::reason::Reason;
use prost::Message as _;

use crate::denial::Denial;

mod wire;

/// The fields of one `CheckRequest`, byte for byte as the proxy sent them. Absent fields are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawCheck {
    /// `source.certificate`: the peer's leaf, URL-encoded PEM.
    pub certificate: Bytes,
    /// `source.principal`: the identity as the proxy reads it. A claim to compare, never to trust.
    pub principal: Bytes,
    /// `request.http.method`.
    pub method: Bytes,
    /// `request.http.path`, with its query.
    pub path: Bytes,
    /// `request.http.host`.
    pub host: Bytes,
    /// Every `accept` header, in order.
    pub accept: Vec<Bytes>,
    /// The `content-type` header.
    pub content_type: Bytes,
    /// The `upgrade` header. Two that differ are no request: which of them counts, another reader may see otherwise.
    pub upgrade: Bytes,
    /// The client's own `traceparent`: the span's parent only if the proxy's metadata has none.
    pub traceparent: Bytes,
}

impl RawCheck {
    /// Reads the message of a Check.
    ///
    /// # Errors
    /// The bytes are not a `CheckRequest`, or there is no HTTP request in it.
    pub fn decode(message: Bytes) -> Result<Self, InvalidRequest> {
        let wire::Check { attributes } =
            wire::Check::decode(message).map_err(|error| InvalidRequest::Undecodable {
                detail: error.to_string(),
            })?;
        let wire::Attributes { source, request } =
            attributes.ok_or(InvalidRequest::NoHttpRequest)?;
        let http = request
            .and_then(|request| request.http)
            .ok_or(InvalidRequest::NoHttpRequest)?;
        let wire::Peer {
            principal,
            certificate,
        } = source.unwrap_or_default();
        let wire::Http {
            method,
            headers,
            path,
            host,
            header_map,
        } = http;
        let mut raw = Self {
            certificate,
            principal,
            method,
            path,
            host,
            ..Self::default()
        };
        // A map on the wire: of two entries with one key the last counts, and counts once.
        let (mut accept, mut upgrade) = (None, None);
        for entry in headers {
            let wire::Header {
                key,
                value,
                raw_value: _,
            } = wire::Header::decode(entry).map_err(|error| InvalidRequest::Undecodable {
                detail: error.to_string(),
            })?;
            match key.as_ref() {
                b"accept" => accept = Some(value),
                b"upgrade" => upgrade = Some(value),
                other => raw.take(other, value),
            }
        }
        raw.accept.extend(accept);
        let mut upgrades = Vec::from_iter(upgrade);
        // Only there when the proxy has `encode_raw_headers`, and then in place of the map.
        for wire::Header {
            key,
            value,
            raw_value,
        } in header_map.unwrap_or_default().headers
        {
            let value = if raw_value.is_empty() {
                value
            } else {
                raw_value
            };
            match key.as_ref() {
                b"accept" => raw.accept.push(value),
                b"upgrade" => upgrades.push(value),
                other => raw.take(other, value),
            }
        }
        raw.upgrade = one_value("upgrade", upgrades)?;
        Ok(raw)
    }

    /// Takes a header that decides nothing: it shapes the denial, or names the span's parent.
    fn take(&mut self, key: &[u8], value: Bytes) {
        match key {
            b"content-type" => self.content_type = value,
            b"traceparent" => self.traceparent = value,
            _ => {}
        }
    }
}

/// The one value of a header, empty if it is absent.
fn one_value(name: &'static str, values: Vec<Bytes>) -> Result<Bytes, InvalidRequest> {
    let mut values = values.into_iter();
    let first = values.next().unwrap_or_default();
    if values.all(|value| value == first) {
        Ok(first)
    } else {
        Err(InvalidRequest::RepeatedHeader { name })
    }
}

/// Why a complete request on the Check path could not be read. All are `request-malformed`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// The body ends before its first message does.
    #[error("the body holds no complete message")]
    NoMessage,
    /// The body holds more than the one message of a unary call.
    #[error("bytes follow the one message of the call")]
    TrailingBytes,
    /// The message is compressed, which was not offered.
    #[error("the message is compressed, which was not offered")]
    Compressed,
    /// The message is longer than a decision can need.
    #[error("the message is longer than {limit} bytes")]
    TooLarge {
        /// The most that is read.
        limit: usize,
    },
    /// The bytes are not protobuf.
    #[error("the message does not decode: {detail}")]
    Undecodable {
        /// What the decoder said.
        detail: String,
    },
    /// A header that a decision reads as one value has several.
    #[error("the `{name}` header is given more than once, with values that differ")]
    RepeatedHeader {
        /// The header.
        name: &'static str,
    },
    /// There is no `attributes.request.http`: an empty message, or a network filter's question.
    #[error("the message holds no HTTP request")]
    NoHttpRequest,
}

impl From<&InvalidRequest> for Denial {
    fn from(invalid: &InvalidRequest) -> Self {
        Self::new(Reason::RequestMalformed, invalid.to_string())
    }
}

#[cfg(test)]
mod tests;
