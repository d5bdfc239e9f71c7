//! PURE. What is asked for: method, host and path become a registry action or a service call, or a refusal.

use policy::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::denial::Denial;
use crate::ext_authz::request::RawCheck;

mod canonical;
mod host;
mod query;
mod registry;
mod service;

pub use host::{Host, InvalidHost};
pub use registry::{Access, RegistryRequest, Resource};
pub use service::ServiceCall;

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// Something of a registry: every path under `/v2/`, on whatever host.
    Registry(RegistryRequest),
    /// A call of a service.
    Service(ServiceCall),
}

/// What the request asks for. Canonical or refused: nothing is repaired on the way.
///
/// # Errors
/// `request-malformed` for a part that is missing, `target-not-canonical` for one that could be read in two ways,
/// `target-unknown` for a request that no rule can be about.
pub fn target(asked: &RawCheck) -> Result<Target, Denial> {
    let method = method(&asked.method)?;
    check_upgrade(&asked.upgrade)?;
    let host = host(&asked.host)?;
    if asked.path.is_empty() {
        return Err(malformed("the request has no path"));
    }
    let (path, query) = canonical::path_and_query(&asked.path).map_err(not_canonical)?;
    if path == "/v2" || path.starts_with("/v2/") {
        registry::request(method, host, path, query, &asked.accept).map(Target::Registry)
    } else {
        Ok(Target::Service(ServiceCall {
            host,
            method: method.to_owned(),
            path: path.to_owned(),
        }))
    }
}

/// An HTTP method that rules can name. CONNECT and TRACE make the proxy something else than a proxy of requests.
fn method(bytes: &[u8]) -> Result<&str, Denial> {
    if bytes.is_empty() {
        return Err(malformed("the request has no method"));
    }
    let upper = |byte: &u8| byte.is_ascii_uppercase() || *byte == b'-' || *byte == b'_';
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.len() <= MAX_METHOD_BYTES);
    match text.filter(|text| text.as_bytes().iter().all(upper)) {
        None => Err(not_canonical("the method is not a short upper-case word")),
        Some("CONNECT" | "TRACE") => Err(unknown("no rule can permit CONNECT or TRACE")),
        Some(method) => Ok(method),
    }
}

/// A connection that becomes another protocol escapes every later check; of WebSocket the one GET is checked.
fn check_upgrade(upgrade: &[u8]) -> Result<(), Denial> {
    if upgrade.is_empty() || upgrade.eq_ignore_ascii_case(b"websocket") {
        Ok(())
    } else {
        Err(unknown(
            "the request upgrades to a protocol that is not known",
        ))
    }
}

fn host(bytes: &[u8]) -> Result<Host, Denial> {
    if bytes.is_empty() {
        return Err(malformed("the request has no host"));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_not_text| not_canonical("the host is not ASCII"))?;
    Host::without_port(text).map_err(|invalid| not_canonical(invalid.to_string()))
}

fn malformed(detail: impl Into<String>) -> Denial {
    Denial::new(Reason::RequestMalformed, detail)
}

fn not_canonical(detail: impl Into<String>) -> Denial {
    Denial::new(Reason::TargetNotCanonical, detail)
}

fn unknown(detail: impl Into<String>) -> Denial {
    Denial::new(Reason::TargetUnknown, detail)
}

/// Longer than any registered method.
const MAX_METHOD_BYTES: usize = 32;

#[cfg(test)]
mod tests;
