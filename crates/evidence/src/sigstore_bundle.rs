//! Sigstore bundles that were signed by a key. The only module that names sigstore's crates.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use identity::public_key::{PublicKey, SpkiHash};
use sigstore_crypto::{KeyAlgorithm, verify_signature_prehashed};
use sigstore_types::{
    Bundle, DerPublicKey, HashAlgorithm, SignatureBytes, SignatureContent,
    bundle::{MessageSignature, VerificationMaterialContent},
    dsse::DsseEnvelope,
};

use crate::digest::{Algorithm, Digest};

/// A bundle of version 0.1 to 0.3 whose verification material is a public key.
///
/// Log entries and timestamps in it are not looked at: without a trusted log they prove nothing about a keyed signature.
#[derive(Clone, Debug)]
pub struct KeyedBundle {
    hint: String,
    content: Content,
}

/// What a keyed bundle's signature is over.
#[derive(Clone, Debug)]
pub enum Content {
    /// A DSSE envelope with exactly one signature.
    Envelope(SignedEnvelope),
    /// The artifact itself, as of `cosign sign-blob`.
    Message(SignedMessage),
}

/// The envelope of a bundle.
#[derive(Clone, Debug)]
pub struct SignedEnvelope(DsseEnvelope);

/// A signature over the bytes that have this digest.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    digest: Digest,
    signature: SignatureBytes,
}

/// Why bytes are not a [`KeyedBundle`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidBundle {
    /// It is not the JSON of a bundle of a version that we read.
    #[error("not the JSON of a Sigstore bundle")]
    Json {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// It was signed with a certificate. Keyless signatures are not verified by this version.
    #[error("the bundle holds a certificate, not a key: keyless signatures are not supported yet")]
    Keyless,
    /// The message it signs is not named by a digest we know.
    #[error("the bundle's message digest is missing or of an unknown algorithm")]
    MessageDigest,
    /// What it signs is of a kind we do not know.
    #[error("the bundle signs content of an unknown kind")]
    UnknownContent,
}

impl KeyedBundle {
    /// Reads a bundle. Nothing about it is believed yet.
    ///
    /// # Errors
    /// [`InvalidBundle`], one variant per broken rule.
    pub fn parse(json: &[u8]) -> Result<Self, InvalidBundle> {
        let bundle: Bundle =
            serde_json::from_slice(json).map_err(|source| InvalidBundle::Json { source })?;
        let VerificationMaterialContent::PublicKey(key) = bundle.verification_material.content
        else {
            return Err(InvalidBundle::Keyless);
        };
        let content = match bundle.content {
            SignatureContent::DsseEnvelope(envelope) => Content::Envelope(SignedEnvelope(envelope)),
            SignatureContent::MessageSignature(message) => {
                Content::Message(SignedMessage::try_from(message)?)
            }
            _ => return Err(InvalidBundle::UnknownContent),
        };
        Ok(Self {
            hint: key.hint,
            content,
        })
    }

    /// The key that the bundle names, if its hint reads as the hash of one: base64 as cosign writes it, or hex.
    ///
    /// The hint is not signed. It may only narrow the keys that are tried, never widen them.
    pub fn hinted_key(&self) -> Option<SpkiHash> {
        let hash = STANDARD.decode(&self.hint).unwrap_or_default();
        SpkiHash::from_hex(&hex::encode(hash))
            .or_else(|_| SpkiHash::from_hex(&self.hint))
            .ok()
    }

    /// What it signs.
    pub fn content(&self) -> &Content {
        &self.content
    }
}

impl SignedEnvelope {
    /// True if `key` made the signature.
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        key.verify(&self.0.pae(), self.0.signature.sig.as_bytes())
            .is_ok()
    }

    /// What the payload is, in the signer's words.
    pub fn payload_type(&self) -> &str {
        &self.0.payload_type
    }

    /// The signed bytes, decoded.
    pub fn payload(&self) -> &[u8] {
        self.0.payload.as_bytes()
    }
}

impl SignedMessage {
    /// True if `key` signed the bytes that have this digest.
    ///
    /// The bytes are not at hand, so keys that sign the bytes themselves and not a hash (Ed25519) never do.
    pub fn signed_by(&self, key: &PublicKey) -> bool {
        let key = DerPublicKey::from_bytes(key.spki_der());
        let algorithm = match self.digest.algorithm() {
            Algorithm::Sha256 => HashAlgorithm::Sha2256,
            Algorithm::Sha512 => HashAlgorithm::Sha2512,
        };
        let scheme =
            KeyAlgorithm::from_spki(&key).and_then(|kind| kind.resolve_signing_scheme(algorithm));
        let hash = hex::decode(self.digest.hex());
        match (scheme, hash) {
            (Ok(scheme), Ok(hash)) => {
                verify_signature_prehashed(&key, &hash, &self.signature, scheme).is_ok()
            }
            (Err(_), _) | (_, Err(_)) => false,
        }
    }

    /// The digest of the signed bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl TryFrom<MessageSignature> for SignedMessage {
    type Error = InvalidBundle;

    fn try_from(message: MessageSignature) -> Result<Self, InvalidBundle> {
        let named = message.message_digest.ok_or(InvalidBundle::MessageDigest)?;
        let algorithm = match named.algorithm {
            HashAlgorithm::Sha2256 => Algorithm::Sha256,
            HashAlgorithm::Sha2512 => Algorithm::Sha512,
            HashAlgorithm::Sha2384 | _ => return Err(InvalidBundle::MessageDigest),
        };
        let text = format!(
            "{}:{}",
            algorithm.name(),
            hex::encode(named.digest.as_bytes())
        );
        let digest = Digest::parse(&text).map_err(|_wrong_length| InvalidBundle::MessageDigest)?;
        Ok(Self {
            digest,
            signature: message.signature,
        })
    }
}
