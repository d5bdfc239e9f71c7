use std::fmt::Write as _;

use identity::spiffe_id::SpiffeId;
use prost::Message as _;

use super::*;
use crate::denial::Denial;
use crate::testing::FRONTEND;

const ID: &str = "01920000-0000-7000-8000-000000000000-authz-1";

fn permit(pin: Option<&str>) -> Answer {
    let permit = Permit::undecided("web-pulls", &SpiffeId::parse(FRONTEND).unwrap(), pin);
    Answer {
        decision_id: ID.to_owned(),
        verdict: Verdict::Permit(permit),
        client: ClientShape::Registry,
    }
}

fn deny(denial: Denial, client: ClientShape) -> Answer {
    Answer {
        decision_id: ID.to_owned(),
        verdict: Verdict::Deny(denial),
        client,
    }
}

/// The response as a reader would write it down.
fn written(response: &CheckResponse) -> String {
    let mut text = String::new();
    let CheckResponse {
        status,
        dynamic_metadata,
        http_response,
    } = response;
    writeln!(text, "status {}", status.as_ref().unwrap().code).unwrap();
    let header = |text: &mut String, what: &str, option: &HeaderValueOption| {
        let header = option.header.as_ref().unwrap();
        writeln!(
            text,
            "{what} {}: {} ({:?})",
            header.key,
            header.value,
            option.append_action()
        )
        .unwrap();
    };
    match http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => {
            writeln!(text, "ok_response").unwrap();
            ok.headers
                .iter()
                .for_each(|option| header(&mut text, "  request", option));
            ok.response_headers_to_add
                .iter()
                .for_each(|option| header(&mut text, "  response", option));
            ok.headers_to_remove
                .iter()
                .for_each(|name| writeln!(text, "  removed {name}").unwrap());
        }
        HttpResponse::DeniedResponse(denied) => {
            writeln!(
                text,
                "denied_response {}",
                denied.status.as_ref().unwrap().code
            )
            .unwrap();
            denied
                .headers
                .iter()
                .for_each(|option| header(&mut text, "  response", option));
            writeln!(text, "  {}", denied.body).unwrap();
        }
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
    }
    let mut fields: Vec<_> = dynamic_metadata.as_ref().unwrap().fields.iter().collect();
    fields.sort_by_key(|(name, _)| *name);
    for (name, value) in fields {
        let Some(value::Kind::StringValue(value)) = &value.kind else {
            panic!("{value:?}")
        };
        writeln!(text, "metadata {name}: {value}").unwrap();
    }
    text
}

#[test]
fn permit_sets_our_headers() {
    insta::assert_snapshot!("permit", written(&respond(&permit(None))));
}

#[test]
fn pinned_permit_rewrites_the_path() {
    insta::assert_snapshot!(
        "permit_pinned",
        written(&respond(&permit(Some(
            "/v2/prod/payments/manifests/sha256:abc"
        ))))
    );
}

#[test]
fn denial_of_a_registry_client_is_oci_json() {
    let unsigned = Denial::new(Reason::ArtifactUnsigned, "nobody signed it").by_rule("web-pulls");
    insta::assert_snapshot!(
        "deny_registry",
        written(&respond(&deny(unsigned, ClientShape::Registry)))
    );
    let missing = Denial::new(Reason::ArtifactNotFound, "");
    insta::assert_snapshot!(
        "deny_registry_not_found",
        written(&respond(&deny(missing, ClientShape::Registry)))
    );
    let unreachable = Denial::new(Reason::RegistryUnreachable, "connect: refused");
    insta::assert_snapshot!(
        "deny_registry_unreachable",
        written(&respond(&deny(unreachable, ClientShape::Registry)))
    );
}

#[test]
fn denial_of_a_grpc_client_is_short_text() {
    let unmet = Denial::new(Reason::RequirementUnmet, "").because(Reason::ArtifactThresholdUnmet);
    insta::assert_snapshot!(
        "deny_grpc",
        written(&respond(&deny(unmet, ClientShape::Grpc)))
    );
}

#[test]
fn denial_of_an_http_client_is_problem_json() {
    let unmet = Denial::new(Reason::RequirementUnmet, "")
        .because(Reason::ArtifactUnsigned)
        .by_rule("web-charges");
    insta::assert_snapshot!(
        "deny_http",
        written(&respond(&deny(unmet, ClientShape::Http)))
    );
    let missing = Denial::new(Reason::IdentityMissing, "");
    insta::assert_snapshot!(
        "deny_http_identity_missing",
        written(&respond(&deny(missing, ClientShape::Http)))
    );
}

#[test]
fn last_resort_is_a_denial() {
    insta::assert_snapshot!("last_resort", written(&last_resort()));
}

#[test]
fn every_reason_denies_every_client() {
    for reason in Reason::ALL {
        for client in [ClientShape::Registry, ClientShape::Grpc, ClientShape::Http] {
            let denial = Denial::new(*reason, "SECRET-DETAIL").by_rule("SECRET-RULE");
            let response = respond(&deny(denial, client));
            let bytes = response.encode_to_vec();
            let read = CheckResponse::decode(bytes.as_slice()).unwrap();
            assert_ne!(read.status.unwrap().code, 0, "{reason}");
            let Some(HttpResponse::DeniedResponse(denied)) = read.http_response else {
                panic!("{reason}")
            };
            let status = denied.status.unwrap().code;
            assert_eq!(status, i32::from(reason.http_status()), "{reason}");
            assert_eq!(
                status == 401,
                *reason == Reason::IdentityMissing,
                "{reason}"
            );
            assert_eq!(status == 503, reason.kind() == Kind::Ours, "{reason}");
            assert!(
                denied.body.contains(reason.code()) && denied.body.contains(ID),
                "{reason}"
            );
            assert!(
                !String::from_utf8_lossy(&bytes).contains("SECRET"),
                "{reason}"
            );
        }
    }
}
