//! DSSE envelopes: one payload, its type, and signatures over both.

use base64::{
    Engine as _,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use identity::{
    private_key::{KeyError, PrivateKey},
    public_key::{BadSignature, PublicKey},
};
use serde::{Deserialize, Serialize};

use crate::base64_bytes;

/// A payload with signatures over its type and its bytes. Reading one believes nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    payload: Vec<u8>,
    signatures: Vec<EnvelopeSignature>,
}

/// One signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeSignature {
    keyid: String,
    sig: Vec<u8>,
}

/// Why bytes are not an [`Envelope`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidEnvelope {
    /// It is larger than [`MAX_ENVELOPE_BYTES`].
    #[error("an envelope of {got} bytes is larger than {MAX_ENVELOPE_BYTES}")]
    TooLarge {
        /// Its size.
        got: usize,
    },
    /// It is not the JSON of an envelope.
    #[error("not the JSON of a DSSE envelope")]
    Json {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// A field is not base64, in either alphabet.
    #[error("the envelope's {field} is not base64")]
    Base64 {
        /// `payload` or `sig`.
        field: &'static str,
        /// The offending character or length.
        #[source]
        source: base64::DecodeError,
    },
    /// Nobody signed it.
    #[error("the envelope carries no signature")]
    Unsigned,
    /// It carries more than [`MAX_SIGNATURES`].
    #[error("the envelope carries {got} signatures, more than {MAX_SIGNATURES}")]
    TooManySignatures {
        /// How many.
        got: usize,
    },
}

/// The largest envelope that is read: a feed batch fits, with room to spare below gRPC's own 4 MiB.
pub const MAX_ENVELOPE_BYTES: usize = 4 * 1024 * 1024;

/// The most signatures of one envelope.
pub const MAX_SIGNATURES: usize = 16;

impl Envelope {
    /// Reads an envelope's JSON.
    ///
    /// # Errors
    /// [`InvalidEnvelope`]; no signature is checked here.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidEnvelope> {
        if json.len() > MAX_ENVELOPE_BYTES {
            return Err(InvalidEnvelope::TooLarge { got: json.len() });
        }
        let raw: RawEnvelope =
            serde_json::from_slice(json).map_err(|source| InvalidEnvelope::Json { source })?;
        Self::try_from(raw)
    }

    /// Signs `payload` as `payload_type` with one key, naming the key by its hash.
    ///
    /// # Errors
    /// [`KeyError`] if the key cannot sign.
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &PrivateKey) -> Result<Self, KeyError> {
        let sig = key.sign(&pae(payload_type, &payload))?;
        let keyid = key.public_key().hash().to_string();
        Ok(Self {
            payload_type: payload_type.to_owned(),
            payload,
            signatures: vec![EnvelopeSignature { keyid, sig }],
        })
    }

    /// Checks that `key` made one of the signatures.
    ///
    /// # Errors
    /// [`BadSignature`] if it made none of them.
    pub fn verify(&self, key: &PublicKey) -> Result<(), BadSignature> {
        let message = self.pae();
        self.signatures
            .iter()
            .map(|signature| key.verify(&message, &signature.sig))
            .find(Result::is_ok)
            .unwrap_or(Err(BadSignature))
    }

    /// The bytes that are signed.
    pub fn pae(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.payload)
    }

    /// What the payload is, in the signer's words.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The signed bytes, decoded.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, at least one.
    pub fn signatures(&self) -> &[EnvelopeSignature] {
        &self.signatures
    }

    /// The envelope's JSON.
    ///
    /// # Errors
    /// None in practice: it holds only strings.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Written::from(self))
    }
}

impl EnvelopeSignature {
    /// A hint at the key; it decides nothing.
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// The raw signature.
    pub fn sig(&self) -> &[u8] {
        &self.sig
    }
}

/// Pre-authentication encoding: what a DSSE signature is made over.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    )
    .into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEnvelope {
    payload_type: String,
    payload: String,
    signatures: Vec<RawSignature>,
}

#[derive(Deserialize)]
struct RawSignature {
    keyid: Option<String>,
    sig: String,
}

impl TryFrom<RawEnvelope> for Envelope {
    type Error = InvalidEnvelope;

    fn try_from(raw: RawEnvelope) -> Result<Self, InvalidEnvelope> {
        let RawEnvelope {
            payload_type,
            payload,
            signatures,
        } = raw;
        match signatures.len() {
            0 => return Err(InvalidEnvelope::Unsigned),
            got if got > MAX_SIGNATURES => return Err(InvalidEnvelope::TooManySignatures { got }),
            _ => {}
        }
        let signatures = signatures
            .into_iter()
            .map(EnvelopeSignature::try_from)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            payload_type,
            payload: decode("payload", &payload)?,
            signatures,
        })
    }
}

impl TryFrom<RawSignature> for EnvelopeSignature {
    type Error = InvalidEnvelope;

    fn try_from(raw: RawSignature) -> Result<Self, InvalidEnvelope> {
        let RawSignature { keyid, sig } = raw;
        Ok(Self {
            keyid: keyid.unwrap_or_default(),
            sig: decode("sig", &sig)?,
        })
    }
}

// SPEC(DSSE protocol): "Either standard or URL-safe encoding is allowed"; padding is optional in the wild.
fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, InvalidEnvelope> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let standard = text.replace('-', "+").replace('_', "/");
    GeneralPurpose::new(&ALPHABET, LENIENT)
        .decode(standard)
        .map_err(|source| InvalidEnvelope::Base64 { field, source })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    payload_type: &'a str,
    #[serde(with = "base64_bytes")]
    payload: &'a [u8],
    signatures: Vec<WrittenSignature<'a>>,
}

#[derive(Serialize)]
struct WrittenSignature<'a> {
    keyid: &'a str,
    #[serde(with = "base64_bytes")]
    sig: &'a [u8],
}

impl<'a> From<&'a Envelope> for Written<'a> {
    fn from(envelope: &'a Envelope) -> Self {
        let Envelope {
            payload_type,
            payload,
            signatures,
        } = envelope;
        let signatures = signatures
            .iter()
            .map(|EnvelopeSignature { keyid, sig }| WrittenSignature { keyid, sig })
            .collect();
        Self {
            payload_type,
            payload,
            signatures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PrivateKey {
        PrivateKey::generate().unwrap()
    }

    #[test]
    fn pae_is_the_one_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_signed_envelope_is_read_back_and_verifies_only_with_its_key() {
        let signer = key();
        let envelope = Envelope::sign("text/plain", b"hello".to_vec(), &signer).unwrap();
        let read = Envelope::parse(&envelope.to_json().unwrap()).unwrap();
        assert_eq!(read, envelope);
        assert!(read.verify(signer.public_key()).is_ok());
        assert!(read.verify(key().public_key()).is_err());
    }

    #[test]
    fn the_type_is_signed_too() {
        let signer = key();
        let mut envelope = Envelope::sign("text/plain", b"hello".to_vec(), &signer).unwrap();
        envelope.payload_type = "text/html".to_owned();
        assert!(envelope.verify(signer.public_key()).is_err());
    }

    #[test]
    fn url_safe_and_unpadded_base64_are_read() {
        let read = Envelope::parse(
            br#"{"payloadType":"t","payload":"_-8","signatures":[{"sig":"AA=="}]}"#,
        )
        .unwrap();
        assert_eq!(read.payload(), [0xff, 0xef]);
        assert_eq!(read.signatures()[0].keyid(), "");
    }

    #[test]
    fn each_broken_rule_has_its_own_error() {
        let one = r#"{"sig":"AA=="}"#;
        let many = vec![one; MAX_SIGNATURES + 1].join(",");
        let parse = |payload: &str, signatures: &str| {
            Envelope::parse(
                format!(
                    r#"{{"payloadType":"t","payload":"{payload}","signatures":[{signatures}]}}"#
                )
                .as_bytes(),
            )
        };
        assert!(matches!(parse("AA==", ""), Err(InvalidEnvelope::Unsigned)));
        assert!(matches!(
            parse("AA==", &many),
            Err(InvalidEnvelope::TooManySignatures { got: 17 })
        ));
        assert!(matches!(
            parse("A", one),
            Err(InvalidEnvelope::Base64 {
                field: "payload",
                ..
            })
        ));
        assert!(matches!(
            parse("AA==", r#"{"sig":"!"}"#),
            Err(InvalidEnvelope::Base64 { field: "sig", .. })
        ));
        assert!(matches!(
            Envelope::parse(b"{}"),
            Err(InvalidEnvelope::Json { .. })
        ));
        let large = vec![b' '; MAX_ENVELOPE_BYTES + 1];
        assert!(matches!(
            Envelope::parse(&large),
            Err(InvalidEnvelope::TooLarge { .. })
        ));
    }
}
