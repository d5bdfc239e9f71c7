//! The body of a denial, in the form that the client can read.
//!
//! A denial of HEAD has the same body: the proxy sends its length and leaves it out.

use policy::reason::Reason;
use serde_json::{Value, json};

use crate::check::ClientShape;

/// A body and its media type.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) content_type: &'static str,
    pub(super) text: String,
}

impl Body {
    /// The body for a denial.
    pub(super) fn of(
        decision_id: &str,
        reason: Reason,
        cause: Option<Reason>,
        client: ClientShape,
    ) -> Self {
        match client {
            ClientShape::Registry => json_body(
                "application/json",
                &registry_errors(decision_id, reason, cause),
            ),
            ClientShape::Http => json_body(
                "application/problem+json",
                &problem(decision_id, reason, cause),
            ),
            // The proxy copies it into `grpc-message` as it is.
            ClientShape::Grpc => Self {
                content_type: "text/plain",
                text: format!("{} (decision {decision_id})", codes(reason, cause)),
            },
        }
    }
}

/// SPEC(OCI distribution §error codes). Clients print the message.
fn registry_errors(decision_id: &str, reason: Reason, cause: Option<Reason>) -> Value {
    let code = match reason.http_status() {
        401 => "UNAUTHORIZED",
        404 => "MANIFEST_UNKNOWN",
        503 => "UNAVAILABLE",
        _ => "DENIED",
    };
    let message = format!(
        "{}: {} (decision {decision_id})",
        codes(reason, cause),
        reason.meaning()
    );
    json!({ "errors": [{ "code": code, "message": message, "detail": detail(decision_id, reason, cause) }] })
}

/// SPEC(RFC 9457 §3.1).
fn problem(decision_id: &str, reason: Reason, cause: Option<Reason>) -> Value {
    let mut problem = detail(decision_id, reason, cause);
    let standard = [
        ("type", json!("about:blank")),
        ("title", json!(codes(reason, cause))),
        ("status", json!(reason.http_status())),
        ("detail", json!(reason.meaning())),
    ];
    if let Some(members) = problem.as_object_mut() {
        members.extend(standard.map(|(name, value)| (name.to_owned(), value)));
    }
    problem
}

fn detail(decision_id: &str, reason: Reason, cause: Option<Reason>) -> Value {
    match cause {
        Some(cause) => {
            json!({ "reason": reason.code(), "cause": cause.code(), "decision": decision_id })
        }
        None => json!({ "reason": reason.code(), "decision": decision_id }),
    }
}

/// `requirement-unmet (artifact-unsigned)`.
fn codes(reason: Reason, cause: Option<Reason>) -> String {
    match cause {
        Some(cause) => format!("{reason} ({cause})"),
        None => reason.to_string(),
    }
}

fn json_body(content_type: &'static str, body: &Value) -> Body {
    Body {
        content_type,
        text: body.to_string(),
    }
}
