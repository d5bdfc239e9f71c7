use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as auth;
use envoy_types::pb::envoy::service::auth::v3::attribute_context as context;
use proptest::prelude::*;

use super::*;

fn check(http: context::HttpRequest, source: context::Peer) -> auth::CheckRequest {
    let request = context::Request {
        http: Some(http),
        ..Default::default()
    };
    let attributes = auth::AttributeContext {
        source: Some(source),
        request: Some(request),
        ..Default::default()
    };
    auth::CheckRequest {
        attributes: Some(attributes),
    }
}

/// What `RawCheck` must hold, read from Envoy's whole message. `None` for what must be refused.
fn view(check: &auth::CheckRequest) -> Option<RawCheck> {
    let attributes = check.attributes.as_ref()?;
    let http = attributes.request.as_ref()?.http.as_ref()?;
    let source = attributes.source.clone().unwrap_or_default();
    let bytes = |text: &String| Bytes::copy_from_slice(text.as_bytes());
    let raw_headers: Vec<(String, Bytes)> = http
        .header_map
        .iter()
        .flat_map(|map| &map.headers)
        .map(|header| {
            let raw = if header.raw_value.is_empty() {
                header.value.as_bytes()
            } else {
                &header.raw_value
            };
            (header.key.clone(), Bytes::copy_from_slice(raw))
        })
        .collect();
    let last = |name: &str| {
        let raw = raw_headers
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.clone());
        raw.or_else(|| http.headers.get(name).map(bytes))
            .unwrap_or_default()
    };
    let accept = http.headers.get("accept").map(bytes).into_iter().chain(
        raw_headers
            .iter()
            .filter(|(key, _)| key == "accept")
            .map(|(_, value)| value.clone()),
    );
    let mut upgrades = http.headers.get("upgrade").map(bytes).into_iter().chain(
        raw_headers
            .iter()
            .filter(|(key, _)| key == "upgrade")
            .map(|(_, value)| value.clone()),
    );
    let upgrade = upgrades.next().unwrap_or_default();
    if upgrades.any(|other| other != upgrade) {
        return None;
    }
    Some(RawCheck {
        certificate: bytes(&source.certificate),
        principal: bytes(&source.principal),
        method: bytes(&http.method),
        path: bytes(&http.path),
        host: bytes(&http.host),
        accept: accept.collect(),
        content_type: last("content-type"),
        upgrade,
        traceparent: last("traceparent"),
    })
}

fn header_name() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("accept".to_owned()),
        Just("content-type".to_owned()),
        Just("upgrade".to_owned()),
        Just("traceparent".to_owned()),
        "[a-z-]{0,12}",
    ]
}

fn header_value() -> impl Strategy<Value = core::HeaderValue> {
    (
        header_name(),
        ".{0,20}",
        proptest::collection::vec(any::<u8>(), 0..12),
    )
        .prop_map(|(key, value, raw_value)| core::HeaderValue {
            key,
            value,
            raw_value,
        })
}

prop_compose! {
    fn request()(
        method in "[A-Z]{0,7}",
        path in ".{0,60}",
        host in ".{0,40}",
        id in ".{0,10}",
        body in ".{0,30}",
        raw_body in proptest::collection::vec(any::<u8>(), 0..20),
        size in any::<i64>(),
        headers in proptest::collection::hash_map(header_name(), ".{0,20}", 0..8),
        map in proptest::option::of(proptest::collection::vec(header_value(), 0..6)),
        principal in ".{0,40}",
        certificate in ".{0,80}",
        service in ".{0,10}",
        labels in proptest::collection::hash_map("[a-z]{0,4}", ".{0,6}", 0..3),
        extensions in proptest::collection::hash_map("[a-z]{0,4}", ".{0,6}", 0..3),
    ) -> auth::CheckRequest {
        let header_map = map.map(|headers| core::HeaderMap { headers });
        let http = context::HttpRequest { id, method, headers, path, host, size, body, raw_body, header_map, ..Default::default() };
        let mut check = check(http, context::Peer { principal, certificate, service, labels, ..Default::default() });
        if let Some(attributes) = check.attributes.as_mut() {
            attributes.context_extensions = extensions;
        }
        check
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn subset_equals_envoys_view(check in request()) {
        prop_assert_eq!(RawCheck::decode(check.encode_to_vec().into()).ok(), view(&check));
    }

    #[test]
    fn subset_equals_envoys_view_after_damage(
        check in request(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = check.encode_to_vec();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        if let Ok(whole) = auth::CheckRequest::decode(bytes.as_slice()) {
            prop_assert_eq!(RawCheck::decode(bytes.into()).ok(), view(&whole));
        }
    }

    #[test]
    fn merged_parts_equal_envoys_view(first in request(), second in request()) {
        let mut bytes = first.encode_to_vec();
        bytes.extend(second.encode_to_vec());
        let whole = auth::CheckRequest::decode(bytes.as_slice()).expect("two messages in a row are one");
        prop_assert_eq!(RawCheck::decode(bytes.into()).ok(), view(&whole));
    }
}

#[test]
fn empty_message_is_no_http_request() {
    assert_eq!(
        RawCheck::decode(Bytes::new()),
        Err(InvalidRequest::NoHttpRequest)
    );
}

#[test]
fn garbage_is_undecodable() {
    let result = RawCheck::decode(Bytes::from_static(b"\xff\xff\xff"));
    assert!(
        matches!(result, Err(InvalidRequest::Undecodable { .. })),
        "{result:?}"
    );
}

#[test]
fn broken_header_entry_is_undecodable() {
    let http = context::HttpRequest {
        headers: HashMap::from([("accept".to_owned(), "a".to_owned())]),
        ..Default::default()
    };
    let mut bytes = check(http, context::Peer::default()).encode_to_vec();
    let at = bytes
        .windows(6)
        .position(|window| window == b"accept")
        .expect("the key is there");
    bytes[at - 1] = 0x7f;
    let result = RawCheck::decode(bytes.into());
    assert!(
        matches!(result, Err(InvalidRequest::Undecodable { .. })),
        "{result:?}"
    );
}

#[test]
fn upgrades_that_differ_are_a_repeated_header() {
    let decode = |map: &[&str], headers: &[(&str, &str)]| {
        let value = |(key, value): &(&str, &str)| core::HeaderValue {
            key: (*key).to_owned(),
            raw_value: value.as_bytes().to_vec(),
            ..Default::default()
        };
        let http = context::HttpRequest {
            headers: map
                .iter()
                .map(|value| ("upgrade".to_owned(), (*value).to_owned()))
                .collect(),
            header_map: Some(core::HeaderMap {
                headers: headers.iter().map(value).collect(),
            }),
            ..Default::default()
        };
        let bytes = check(http, context::Peer::default()).encode_to_vec();
        RawCheck::decode(bytes.into()).map(|raw| raw.upgrade)
    };
    let (h2c, websocket, none) = (
        ("upgrade", "h2c"),
        ("upgrade", "websocket"),
        ("upgrade", ""),
    );
    let refused = Err(InvalidRequest::RepeatedHeader { name: "upgrade" });
    assert_eq!(decode(&[], &[h2c, websocket]), refused);
    assert_eq!(decode(&[], &[websocket, h2c]), refused);
    assert_eq!(decode(&[], &[h2c, none]), refused);
    assert_eq!(decode(&[], &[none, websocket]), refused);
    assert_eq!(decode(&["h2c"], &[websocket]), refused);
    let once = Ok(Bytes::from_static(b"websocket"));
    assert_eq!(decode(&["websocket"], &[websocket, websocket]), once);
    assert_eq!(decode(&[], &[]), Ok(Bytes::new()));
}

#[test]
fn bytes_that_are_not_utf8_arrive_as_they_are() {
    let http = context::HttpRequest {
        path: "/caf?".to_owned(),
        ..Default::default()
    };
    let mut bytes = check(http, context::Peer::default()).encode_to_vec();
    let at = bytes
        .windows(5)
        .position(|window| window == b"/caf?")
        .expect("the path is there");
    bytes[at + 4] = 0xe9;
    assert_eq!(
        RawCheck::decode(bytes.into())
            .expect("it decodes")
            .path
            .as_ref(),
        b"/caf\xe9"
    );
}

#[test]
fn every_invalid_request_is_request_malformed() {
    let all = [
        InvalidRequest::NoMessage,
        InvalidRequest::TrailingBytes,
        InvalidRequest::Compressed,
        InvalidRequest::TooLarge { limit: 1 },
        InvalidRequest::Undecodable {
            detail: String::new(),
        },
        InvalidRequest::RepeatedHeader { name: "upgrade" },
        InvalidRequest::NoHttpRequest,
    ];
    assert!(
        all.iter()
            .all(|invalid| Denial::from(invalid).reason == Reason::RequestMalformed)
    );
}
