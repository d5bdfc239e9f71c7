//! One SDS stream, state of the world: what was asked, sent, taken and refused by the proxy. PURE.

use std::collections::BTreeMap;

/// The protocol state of one stream.
#[derive(Debug, Default)]
pub struct Subscription {
    names: Vec<String>,
    /// The version of each resource as it was last sent.
    sent: BTreeMap<String, String>,
    responses: u64,
    node: Option<String>,
}

/// The parts of a `DiscoveryRequest` that the protocol reads.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// What kind of resource is asked for.
    pub type_url: String,
    /// The secrets asked for.
    pub names: Vec<String>,
    /// The nonce of the response this answers; empty on the first request.
    pub nonce: String,
    /// Why the proxy did not take the response of that nonce.
    pub rejection: Option<String>,
    /// The proxy's name for itself; later requests may leave it out.
    pub node: Option<String>,
}

/// What a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meaning {
    /// Other secrets are wanted than before: answer.
    Asked,
    /// The last response is in use.
    Taken,
    /// The last response was refused; the proxy keeps what it had. Nothing is sent until a secret changes: sending the same again would spin.
    Rejected(String),
    /// It answers an older response, or asks for what is on its way.
    Stale,
}

/// A request that ends its stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Only secrets are served here.
    #[error("resource type `{0}` is not served; only `{TYPE_URL}` is")]
    Type(String),
    /// More names than any proxy needs.
    #[error("{0} secrets asked for on one stream, at most {MAX_NAMES} are served")]
    TooManyNames(usize),
}

/// The wrapping of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Version of the whole response.
    pub version: String,
    /// The nonce that its acknowledgement must carry.
    pub nonce: String,
}

impl Subscription {
    /// Takes in one request.
    ///
    /// # Errors
    /// Refuses other resource types and unbounded lists.
    pub fn request(&mut self, request: Request) -> Result<Meaning, InvalidRequest> {
        let Request {
            type_url,
            names,
            nonce,
            rejection,
            node,
        } = request;
        if type_url != TYPE_URL {
            return Err(InvalidRequest::Type(type_url));
        }
        if names.len() > MAX_NAMES {
            return Err(InvalidRequest::TooManyNames(names.len()));
        }
        self.node = self.node.take().or(node);
        // The nonce of an earlier stream means nothing on this one, whose first request is answered whatever it carries.
        if self.responses > 0 && !nonce.is_empty() && nonce != self.nonce() {
            return Ok(Meaning::Stale);
        }
        Ok(self.current(names, &nonce, rejection))
    }

    fn current(&mut self, names: Vec<String>, nonce: &str, rejection: Option<String>) -> Meaning {
        let names = without_repeats(names);
        if names != self.names {
            self.sent.retain(|name, _| names.contains(name));
            self.names = names;
            // Nothing asked for is an end of the subscription, not a wish for everything.
            return if self.names.is_empty() {
                Meaning::Taken
            } else {
                Meaning::Asked
            };
        }
        match rejection {
            Some(detail) => Meaning::Rejected(detail),
            None if nonce.is_empty() => Meaning::Stale,
            None => Meaning::Taken,
        }
    }

    /// The secrets asked for, each once.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// How the proxy named itself, on whichever request it did.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Says whether these versions differ from what was sent: a change of another secret leaves this stream silent.
    pub fn differs(&self, versions: &BTreeMap<String, String>) -> bool {
        versions
            .iter()
            .any(|(name, version)| self.sent.get(name) != Some(version))
    }

    /// Notes that resources of these versions are sent now.
    pub fn respond(&mut self, versions: BTreeMap<String, String>) -> Response {
        let version = versions
            .values()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(",");
        self.sent.extend(versions);
        self.responses = self.responses.saturating_add(1);
        Response {
            version,
            nonce: self.nonce(),
        }
    }

    fn nonce(&self) -> String {
        self.responses.to_string()
    }
}

fn without_repeats(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// The one resource type of SDS.
pub const TYPE_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// Envoy asks for one secret per stream; SPIRE's own examples ask for a handful.
const MAX_NAMES: usize = 32;

#[cfg(test)]
mod tests;
