//! The raw forms of evidence, before anything about them is believed.

use serde::{Deserialize, Serialize};

use crate::base64_bytes;

/// One piece of self-authenticating bytes that may vouch for a digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "form", rename_all = "camelCase", deny_unknown_fields)]
pub enum Evidence {
    /// cosign's legacy payload and its detached signature.
    SimpleSigning {
        /// The signed bytes, exactly as stored.
        #[serde(with = "base64_bytes")]
        payload: Vec<u8>,
        /// The raw signature over `payload`.
        #[serde(with = "base64_bytes")]
        signature: Vec<u8>,
    },
    /// A Sigstore bundle.
    SigstoreBundle {
        /// The bundle's JSON, exactly as stored.
        #[serde(with = "base64_bytes")]
        json: Vec<u8>,
    },
    /// A bare DSSE envelope.
    Dsse {
        /// The envelope's JSON, exactly as stored.
        #[serde(with = "base64_bytes")]
        envelope: Vec<u8>,
    },
}

/// Why a JSON document is no evidence of a form we read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEvidence {
    /// It is larger than any evidence we read.
    #[error("evidence of {got} bytes is larger than {MAX_EVIDENCE_BYTES}")]
    TooLarge {
        /// Its size.
        got: usize,
    },
    /// It is not a JSON object.
    #[error("evidence is not a JSON object")]
    NotJson {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// It has the marks of neither a bundle nor an envelope, or of both.
    #[error("evidence is neither a Sigstore bundle nor a DSSE envelope")]
    UnknownForm,
}

/// The largest single piece of evidence that is read: a keyed signature is about 2 KiB.
pub const MAX_EVIDENCE_BYTES: usize = 256 * 1024;

/// The most pieces of evidence about one digest that an agent reads, tells, and is believed to have: both ends judge the same set.
pub const MAX_EVIDENCE_PIECES: usize = 16;

/// The most bytes of all these pieces together.
pub const MAX_EVIDENCE_TOTAL_BYTES: usize = 1024 * 1024;

impl Evidence {
    /// Tells a Sigstore bundle from a DSSE envelope by its shape. Nothing is verified here.
    ///
    /// # Errors
    /// [`InvalidEvidence`] if the document is too large, not JSON, or of another shape.
    pub fn from_json(json: &[u8]) -> Result<Self, InvalidEvidence> {
        if json.len() > MAX_EVIDENCE_BYTES {
            return Err(InvalidEvidence::TooLarge { got: json.len() });
        }
        let shape: Shape =
            serde_json::from_slice(json).map_err(|source| InvalidEvidence::NotJson { source })?;
        let Shape {
            verification_material,
            payload_type,
        } = shape;
        match (verification_material, payload_type) {
            (Some(_), None) => Ok(Self::SigstoreBundle {
                json: json.to_vec(),
            }),
            (None, Some(_)) => Ok(Self::Dsse {
                envelope: json.to_vec(),
            }),
            (Some(_), Some(_)) | (None, None) => Err(InvalidEvidence::UnknownForm),
        }
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        match self {
            Self::SimpleSigning { payload, signature } => {
                payload.len().saturating_add(signature.len())
            }
            Self::SigstoreBundle { json } => json.len(),
            Self::Dsse { envelope } => envelope.len(),
        }
    }
}

/// The top-level keys that tell the forms apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    verification_material: Option<serde::de::IgnoredAny>,
    payload_type: Option<serde::de::IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundle_and_envelope_are_told_apart_by_shape() {
        let bundle = br#"{"mediaType":"x","verificationMaterial":{},"dsseEnvelope":{}}"#;
        let envelope = br#"{"payloadType":"x","payload":"","signatures":[]}"#;
        assert!(matches!(
            Evidence::from_json(bundle),
            Ok(Evidence::SigstoreBundle { .. })
        ));
        assert!(matches!(
            Evidence::from_json(envelope),
            Ok(Evidence::Dsse { .. })
        ));
    }

    #[test]
    fn a_document_of_no_shape_or_of_both_is_refused() {
        for junk in [
            &b"{}"[..],
            br#"{"payloadType":"x","verificationMaterial":{}}"#,
        ] {
            assert!(matches!(
                Evidence::from_json(junk),
                Err(InvalidEvidence::UnknownForm)
            ));
        }
        for junk in [&b"[]"[..], b"\xff", b"", b"{\"payloadType\":"] {
            assert!(matches!(
                Evidence::from_json(junk),
                Err(InvalidEvidence::NotJson { .. })
            ));
        }
    }

    #[test]
    fn a_large_document_is_not_read() {
        let large = vec![b' '; MAX_EVIDENCE_BYTES + 1];
        assert!(matches!(
            Evidence::from_json(&large),
            Err(InvalidEvidence::TooLarge { .. })
        ));
    }

    #[test]
    fn json_carries_every_byte() {
        let evidence = Evidence::SimpleSigning {
            payload: vec![0, 255, 10],
            signature: vec![1],
        };
        let json = serde_json::to_string(&evidence).unwrap();
        assert_eq!(
            json,
            r#"{"form":"simpleSigning","payload":"AP8K","signature":"AQ=="}"#
        );
        assert_eq!(serde_json::from_str::<Evidence>(&json).unwrap(), evidence);
    }
}
