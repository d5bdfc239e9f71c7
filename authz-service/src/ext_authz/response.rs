//! A decision as Envoy reads it: the one constructor of a `CheckResponse`.
//!
//! SPEC(design §9 rule 1): a denial has a non-zero status *and* a `denied_response`; a permit has status 0 and an `ok_response`. There
//! is no way to build anything else here, and none of it depends on anything going right.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use envoy_types::pb::google::protobuf::{Struct, Value, value};
use envoy_types::pb::google::rpc;
use policy::reason::{Kind, Reason};

use crate::check::{Answer, ClientShape, Verdict};
use crate::decide::Permit;

mod body;

use body::Body;

/// The response for this answer.
pub fn respond(answer: &Answer) -> CheckResponse {
    let Answer {
        decision_id,
        verdict,
        client,
    } = answer;
    match verdict {
        Verdict::Permit(permit) => permitted(decision_id, permit),
        Verdict::Deny(denial) => denied(decision_id, denial.reason, denial.cause, *client),
    }
}

/// A denial `internal` for a Check that could not even be recorded.
pub fn last_resort() -> CheckResponse {
    denied(UNRECORDED, Reason::Internal, None, ClientShape::Http)
}

/// What the service behind the proxy reads of us is set on every permit, so that a caller cannot bring its own.
fn permitted(decision_id: &str, permit: &Permit) -> CheckResponse {
    let mut headers = vec![
        set(DECISION, decision_id),
        set(CALLER, permit.caller().as_str()),
    ];
    headers.extend(permit.pinned_path().map(|path| set(":path", path)));
    let ok = OkHttpResponse {
        headers,
        response_headers_to_add: vec![set(DECISION, decision_id)],
        ..OkHttpResponse::default()
    };
    let facts = [
        ("decision", "permit"),
        ("decision_id", decision_id),
        ("rule", permit.rule()),
    ];
    response(rpc::Code::Ok, HttpResponse::OkResponse(ok), facts)
}

/// Names the reason, never rules, signers or other identities.
fn denied(
    decision_id: &str,
    reason: Reason,
    cause: Option<Reason>,
    client: ClientShape,
) -> CheckResponse {
    let Body { content_type, text } = Body::of(decision_id, reason, cause, client);
    let mut headers = vec![
        set("content-type", content_type),
        set(DECISION, decision_id),
    ];
    if reason.kind() == Kind::Ours {
        headers.push(set("retry-after", RETRY_AFTER_SECONDS));
    }
    let code = match reason.http_status() {
        401 => {
            headers.push(set("www-authenticate", CHALLENGE));
            rpc::Code::Unauthenticated
        }
        _ => rpc::Code::PermissionDenied,
    };
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus {
            code: i32::from(reason.http_status()),
        }),
        headers,
        body: text,
    };
    let facts = [
        ("decision", "deny"),
        ("decision_id", decision_id),
        ("reason", reason.code()),
        ("cause", cause.map_or("", Reason::code)),
    ];
    response(code, HttpResponse::DeniedResponse(denied), facts)
}

fn response<const N: usize>(
    code: rpc::Code,
    http: HttpResponse,
    facts: [(&str, &str); N],
) -> CheckResponse {
    CheckResponse {
        status: Some(rpc::Status {
            code: code.into(),
            ..rpc::Status::default()
        }),
        dynamic_metadata: Some(metadata(&facts)),
        http_response: Some(http),
    }
}

/// What Envoy's access log shows as `%DYNAMIC_METADATA(envoy.filters.http.ext_authz:…)%`.
fn metadata(facts: &[(&str, &str)]) -> Struct {
    let field = |(name, text): &(&str, &str)| {
        (
            (*name).to_owned(),
            Value {
                kind: Some(value::Kind::StringValue((*text).to_owned())),
            },
        )
    };
    let fields: HashMap<_, _> = facts
        .iter()
        .filter(|(_, text)| !text.is_empty())
        .map(field)
        .collect();
    Struct {
        fields: fields.into_iter().collect(),
    }
}

/// Replaces whatever the header holds.
fn set(key: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: key.to_owned(),
            value: value.to_owned(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}

/// The decision's id: to the service on a permit, to the caller always.
const DECISION: &str = "x-countersign-decision";
/// The caller's SPIFFE ID, to the service on a permit.
const CALLER: &str = "x-countersign-caller";
/// 1 s // our faults are short: a sync, a verification under way, a burst.
const RETRY_AFTER_SECONDS: &str = "1";
/// RFC 9110 §11.6.1 wants a challenge with every 401; there is no registered scheme for certificates.
const CHALLENGE: &str = "ClientCertificate";
/// In place of a decision id when there is no record.
const UNRECORDED: &str = "unrecorded";

#[cfg(test)]
mod tests;
