//! cosign's legacy payload: what its JSON says about an image.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    digest::{Digest, InvalidDigest},
    statement::texts,
    vouched::Claims,
};

/// A payload that was signed for one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    digest: Digest,
    claims: Claims,
}

/// Why bytes are not a [`Payload`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidPayload {
    /// It is not the JSON of a payload, or says something critical that we do not know.
    #[error("not the JSON of a cosign signature payload")]
    Json {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// Its `type` is neither one that cosign writes.
    #[error("the payload type `{got}` is not one that cosign writes")]
    UnknownType {
        /// Its `type`.
        got: String,
    },
    /// Its digest is not one.
    #[error("the payload's `docker-manifest-digest` is not a digest")]
    Digest {
        /// The broken rule.
        #[source]
        source: InvalidDigest,
    },
}

/// The two values of `critical.type`: of cosign 3 without its new bundle format, and of everything before.
pub const PAYLOAD_TYPES: [&str; 2] = [
    "cosign container image signature",
    "https://sigstore.dev/cosign/sign/v1",
];

impl Payload {
    /// Reads a payload. The caller has verified the signature over `json`.
    ///
    /// # Errors
    /// [`InvalidPayload`], one variant per broken rule.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidPayload> {
        let RawPayload { critical, optional } =
            serde_json::from_slice(json).map_err(|source| InvalidPayload::Json { source })?;
        let RawCritical {
            identity,
            image,
            kind,
        } = critical;
        if !PAYLOAD_TYPES.contains(&kind.as_str()) {
            return Err(InvalidPayload::UnknownType { got: kind });
        }
        let digest = Digest::parse(&image.docker_manifest_digest)
            .map_err(|source| InvalidPayload::Digest { source })?;
        let claims = Claims {
            repository: repository_of(&identity.docker_reference),
            names: Vec::new(),
            annotations: texts(optional.unwrap_or_default()),
        };
        Ok(Self { digest, claims })
    }

    /// The image that was signed.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// What else the signer said of it.
    pub fn into_claims(self) -> Claims {
        self.claims
    }
}

/// A reference without its tag and digest: `localhost:5000/a/b:1@sha256:…` is `localhost:5000/a/b`.
fn repository_of(reference: &str) -> Option<String> {
    let named = reference
        .split_once('@')
        .map_or(reference, |(named, _)| named);
    let repository = match named.rsplit_once(':') {
        // A colon before the last slash belongs to the host's port.
        Some((before, tag)) if !tag.contains('/') => before,
        Some(_) | None => named,
    };
    (!repository.is_empty()).then(|| repository.to_owned())
}

#[derive(Deserialize)]
struct RawPayload {
    critical: RawCritical,
    optional: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCritical {
    identity: RawIdentity,
    image: RawImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawIdentity {
    docker_reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawImage {
    docker_manifest_digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(reference: &str, digest: &str, kind: &str, optional: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"{reference}"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"{kind}"}},"optional":{optional}}}"#
        )
    }

    fn parse(json: &str) -> Result<Payload, InvalidPayload> {
        Payload::parse(json.as_bytes())
    }

    #[test]
    fn both_types_are_read_and_no_other() {
        let digest = Digest::sha256_of(b"image");
        for kind in PAYLOAD_TYPES {
            assert_eq!(
                parse(&payload("r", digest.as_str(), kind, "null"))
                    .unwrap()
                    .digest(),
                &digest
            );
        }
        let other = parse(&payload(
            "r",
            digest.as_str(),
            "atomic container signature",
            "null",
        ));
        assert!(matches!(other, Err(InvalidPayload::UnknownType { .. })));
    }

    #[test]
    fn claims_are_repository_and_annotations() {
        let digest = Digest::sha256_of(b"image");
        let json = payload(
            "localhost:5000/prod/payments:1.4@sha256:00",
            digest.as_str(),
            PAYLOAD_TYPES[0],
            r#"{"product":"payments","n":1}"#,
        );
        let claims = parse(&json).unwrap().into_claims();
        assert_eq!(
            claims.repository.as_deref(),
            Some("localhost:5000/prod/payments")
        );
        assert_eq!(
            claims.annotations,
            BTreeMap::from([("product".to_owned(), "payments".to_owned())])
        );
    }

    #[test]
    fn a_reference_loses_tag_and_digest_but_not_its_port() {
        for (reference, repository) in [
            ("a/b", Some("a/b")),
            ("a/b:1", Some("a/b")),
            ("h:5000/a", Some("h:5000/a")),
            ("h:5000/a:1", Some("h:5000/a")),
            ("a@sha256:00", Some("a")),
            ("", None),
            (":1", None),
        ] {
            assert_eq!(
                repository_of(reference).as_deref(),
                repository,
                "{reference}"
            );
        }
    }

    #[test]
    fn each_broken_rule_has_its_own_error() {
        assert!(matches!(
            parse(&payload("r", "sha256:1", PAYLOAD_TYPES[0], "null")),
            Err(InvalidPayload::Digest { .. })
        ));
        assert!(matches!(parse("{}"), Err(InvalidPayload::Json { .. })));
        let unknown = payload("r", "x", "t", "null").replace(r#""type""#, r#""more":1,"type""#);
        assert!(matches!(parse(&unknown), Err(InvalidPayload::Json { .. })));
        let twice = payload("r", "x", "t", "null").replace(r#""type""#, r#""type":"a","type""#);
        assert!(matches!(parse(&twice), Err(InvalidPayload::Json { .. })));
    }
}
