//! One thing broken on purpose, to show which rows rest on it.

use serde_json::{Value, json};

/// What is broken.
#[derive(Debug, Clone, PartialEq)]
pub enum Tamper {
    /// Nothing.
    None,
    /// One line of the policy reads otherwise.
    Policy {
        /// What it reads.
        from: &'static str,
        /// What it reads now.
        to: &'static str,
    },
    /// One setting of Envoy is another.
    Envoy {
        /// A JSON pointer.
        pointer: String,
        /// Its value now.
        value: Value,
    },
    /// Somebody signed the rogue program.
    RogueIsSigned,
    /// The program that the attackers try to pass for is not signed.
    AttackedIsUnsigned,
    /// The thief shows the frontend's certificate and has its key.
    ThiefHasTheKey,
    /// The signatures of prod/payments:1.4 are not in the registry.
    PaymentsIsUnsigned,
    /// prod/rogue:1.0 is a signed image.
    RogueImageIsSigned,
    /// The attacker moves the tag to an image that is signed.
    TagMovesToSigned,
    /// The record file is lost with the killed authz-service.
    RecordsAreLost,
    /// Envoy serves the certificate it found in a file at its start.
    EnvoyCertificateFromFile,
}

/// A named mutation and the rows that must fail under it, and no others.
#[derive(Debug, Clone)]
pub struct Mutation {
    /// Its name.
    pub name: &'static str,
    /// What it breaks, in words.
    pub breaks: &'static str,
    /// What it breaks.
    pub tamper: Tamper,
    /// The rows that rest on it.
    pub fails: &'static [u8],
}

/// Every mutation, in the order of the row it is for.
pub fn mutations() -> Vec<Mutation> {
    let mutation = |name, breaks, tamper, fails| Mutation {
        name,
        breaks,
        tamper,
        fails,
    };
    let listener = "/static_resources/listeners/0";
    let manager = format!("{listener}/filter_chains/0/filters/0/typed_config");
    let tls = format!("{listener}/filter_chains/0/transport_socket/typed_config");
    let envoy = |pointer: String, value| Tamper::Envoy { pointer, value };
    vec![
        mutation(
            "rule-names-another-path",
            "policy line: web-charges permits /v1/refunds",
            Tamper::Policy {
                from: "paths: [/v1/charges]",
                to: "paths: [/v1/refunds]",
            },
            &[1, 15, 16],
        ),
        mutation(
            "rule-permits-deletes",
            "policy line: web-charges permits DELETE /v1/charges/*",
            Tamper::Policy {
                from: "methods: [POST], paths: [/v1/charges]",
                to: "methods: [POST, DELETE], paths: [/v1/charges, /v1/charges/*]",
            },
            &[2],
        ),
        mutation(
            "rogue-is-signed",
            "evidence file: one for the rogue program",
            Tamper::RogueIsSigned,
            &[3, 8],
        ),
        mutation(
            "attacked-is-unsigned",
            "evidence file: none for the attacked program",
            Tamper::AttackedIsUnsigned,
            &[4],
        ),
        mutation(
            "certificates-demanded",
            "Envoy: the listener that takes callers without a certificate demands one",
            envoy(
                "/static_resources/listeners/1/filter_chains/0/transport_socket/typed_config/require_client_certificate"
                    .to_owned(),
                json!(true),
            ),
            &[5],
        ),
        mutation(
            "thief-has-the-key",
            "key: the thief has the frontend's own",
            Tamper::ThiefHasTheKey,
            &[6, 8, 15],
        ),
        mutation(
            "plain-validator",
            "Envoy: any certificate under trusted_ca is taken, whatever its name",
            envoy(
                format!("{tls}/common_tls_context/validation_context_sds_secret_config/name"),
                json!("ROOTCA"),
            ),
            &[7],
        ),
        mutation(
            "payments-is-unsigned",
            "evidence: prod/payments:1.4 has no signature",
            Tamper::PaymentsIsUnsigned,
            &[9],
        ),
        mutation(
            "rogue-image-is-signed",
            "evidence: prod/rogue:1.0 is a signed image",
            Tamper::RogueImageIsSigned,
            &[10],
        ),
        mutation(
            "escaped-slashes-kept",
            "Envoy: a path with %2F is handed on",
            envoy(
                format!("{manager}/path_with_escaped_slashes_action"),
                json!("KEEP_UNCHANGED"),
            ),
            &[11],
        ),
        mutation(
            "blobs-not-checked",
            "Envoy filter: ext_authz disabled for blobs",
            envoy(
                format!("{manager}/route_config/virtual_hosts/1/routes/0"),
                blobs_unchecked(),
            ),
            &[12],
        ),
        mutation(
            "tag-moves-to-signed",
            "evidence: the tag is moved to a signed image",
            Tamper::TagMovesToSigned,
            &[13],
        ),
        mutation(
            "failure-mode-allow",
            "Envoy filter: ext_authz with failure_mode_allow",
            envoy(
                format!("{manager}/http_filters/0/typed_config/failure_mode_allow"),
                json!(true),
            ),
            &[14],
        ),
        mutation(
            "records-are-lost",
            "record file: lost with the killed authz-service",
            Tamper::RecordsAreLost,
            &[15],
        ),
        mutation(
            "envoy-certificate-from-file",
            "Envoy: its certificate from a file, not by SDS",
            Tamper::EnvoyCertificateFromFile,
            &[16],
        ),
    ]
}

/// A route for blobs that no filter asks about.
fn blobs_unchecked() -> Value {
    json!({
        "match": { "safe_regex": { "regex": "/v2/.*/blobs/.*" } },
        "route": { "cluster": "registry" },
        "typed_per_filter_config": {
            "envoy.filters.http.ext_authz": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
                "disabled": true,
            },
        },
    })
}
