//! Well-formed Checks, and which of them may be permitted.

use std::collections::HashMap;

use authz_service::ext_authz::request::RawCheck;
use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as Attributes,
};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use prost::Message as _;

use super::sent::Dice;
use crate::support::pki::Svid;
use crate::support::world::World;

/// Well-formed messages, from which the others are made.
pub struct Seeds {
    pub permitted: Vec<CheckRequest>,
    pub refused: Vec<CheckRequest>,
}

impl Seeds {
    pub fn new(world: &World) -> Self {
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

    pub fn any(&self, dice: &mut Dice) -> Vec<u8> {
        let all: Vec<_> = self.permitted.iter().chain(&self.refused).collect();
        // Half of them start from a permit: what must not become another one is made from one.
        if dice.below(2) == 0 {
            self.permitted[0].encode_to_vec()
        } else {
            all[dice.below(all.len())].encode_to_vec()
        }
    }

    /// Whether a permit of this message is a permit of a seed: the same caller, method, host and path.
    pub fn permit(&self, message: Bytes) -> bool {
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
