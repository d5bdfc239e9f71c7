//! Crates that are compiled in two versions, each with its reason.

/// Why there are two versions. Each goes when the crate named in its reason moves on.
const REASONS: &[(&str, &str)] = &[
    (
        "base64",
        "tonic 0.14 has 0.22; hyper-util, pem, reqwest and sigstore-types have 0.23",
    ),
    (
        "const-oid",
        "x509-cert 0.2, of sigstore-crypto, is on der 0.7; pkcs8 is on der 0.8",
    ),
    (
        "der",
        "x509-cert 0.2, of sigstore-crypto, is on der 0.7; pkcs8 is on der 0.8",
    ),
    (
        "getrandom",
        "rand_core 0.9, of imbl and opentelemetry_sdk, has 0.3; uuid and tempfile have 0.4",
    ),
    (
        "hashbrown",
        "petgraph, of prost-build, has 0.15; indexmap has 0.17; tests only",
    ),
    (
        "logos",
        "protox-parse has 0.15, prost-reflect 0.16; tests only",
    ),
    (
        "logos-codegen",
        "protox-parse has logos 0.15, prost-reflect 0.16; tests only",
    ),
    (
        "logos-derive",
        "protox-parse has logos 0.15, prost-reflect 0.16; tests only",
    ),
    ("nix", "command-fds has 0.31"),
    (
        "prettyplease",
        "prost-build has 0.3, tonic-build 0.2; tests only",
    ),
    ("rand", "opentelemetry_sdk has 0.9; proptest has 0.10"),
    (
        "rand_core",
        "imbl and opentelemetry_sdk are on rand 0.9; proptest is on rand 0.10",
    ),
    ("shlex", "trycmd has 1; cc has 2; build and tests only"),
    ("similar", "insta has 2, snapbox 3; tests only"),
    (
        "spki",
        "x509-cert 0.2, of sigstore-crypto, is on der 0.7; pkcs8 is on der 0.8",
    ),
    ("syn", "derive macros are moving from 2 to 3; build only"),
    (
        "synstructure",
        "asn1-rs-derive has 0.13, yoke-derive 0.14; build only",
    ),
    (
        "unicode-width",
        "miette, of protox, has 0.1; annotate-snippets, of serde-saphyr, has 0.2",
    ),
    ("untrusted", "aws-lc-rs has 0.7, rustls-webpki 0.9"),
];

/// The reason for two versions of this crate.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    REASONS
        .iter()
        .find(|(listed, _)| *listed == name)
        .map(|(_, reason)| *reason)
}

/// Every crate that has a reason.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    REASONS.iter().map(|(name, _)| *name)
}
