//! What one Check is answered with: the verdict, its id and the form the client can read.

use crate::decide::Permit;
use crate::denial::Denial;

/// The outcome of one Check, already recorded. `ext_authz::response` turns it into a `CheckResponse`.
#[derive(Debug)]
pub struct Answer {
    /// The decision's id, the same in the header, the metadata, the record, the span and the body.
    pub decision_id: String,
    /// Permit, or deny with its reason.
    pub verdict: Verdict,
    /// The form of denial that this client can read.
    pub client: ClientShape,
}

/// What was decided.
#[derive(Debug)]
pub enum Verdict {
    /// The request goes on, by the permit's pinned path if it has one.
    Permit(Permit),
    /// The request ends here. The denial's detail and rule are for the operator only.
    Deny(Denial),
}

/// How a client reads a denial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientShape {
    /// OCI error JSON: everything under `/v2/`.
    Registry,
    /// A short `grpc-message`.
    Grpc,
    /// `application/problem+json`.
    Http,
}

impl ClientShape {
    /// The shape for a request's raw path and content type. Total: bytes that nobody can read are a plain HTTP client's.
    pub fn of(path: &[u8], content_type: &[u8]) -> Self {
        if path == b"/v2" || path.starts_with(b"/v2/") {
            Self::Registry
        } else if content_type.starts_with(b"application/grpc") {
            Self::Grpc
        } else {
            Self::Http
        }
    }
}
