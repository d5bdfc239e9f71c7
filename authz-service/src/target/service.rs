//! A call of a service: host, HTTP method, canonical path.

use serde::{Deserialize, Serialize};

use super::Host;

/// A call of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceCall {
    /// The service's host.
    pub host: Host,
    /// The HTTP method; `POST` for gRPC.
    pub method: String,
    /// The canonical path, without the query: no rule is about that.
    pub path: String,
}
