//! Owns public keys: which kinds are accepted, how one is named by its hash, and what it has signed.

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    digest,
    signature::{self, ParsedPublicKey, VerificationAlgorithm},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use x509_parser::{
    der_parser::{Oid, asn1_rs::FromDer as _, oid},
    x509::SubjectPublicKeyInfo,
};

use crate::pem::{self, InvalidPem};

/// Largest public key that is read, in bytes of DER. RSA-8192 needs about a kilobyte.
pub const MAX_PUBLIC_KEY_BYTES: usize = 4096;

/// A public key of an accepted kind: ECDSA on P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits.
#[derive(Clone)]
pub struct PublicKey {
    spki_der: Arc<[u8]>,
    hash: SpkiHash,
    kind: KeyKind,
    /// One verifier per digest that signers use with this kind of key.
    verifiers: Arc<[ParsedPublicKey]>,
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// The structure is malformed, or the key is of a kind, a curve or a size that is not accepted.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, InvalidPublicKey> {
        if der.len() > MAX_PUBLIC_KEY_BYTES {
            return Err(InvalidPublicKey::TooLarge);
        }
        let (rest, spki) =
            SubjectPublicKeyInfo::from_der(der).map_err(|_source| InvalidPublicKey::Malformed)?;
        if !rest.is_empty() {
            return Err(InvalidPublicKey::TrailingData);
        }
        let kind = KeyKind::of(&spki)?;
        let verifiers = kind
            .algorithms()
            .iter()
            .map(|algorithm| {
                ParsedPublicKey::new(*algorithm, spki.subject_public_key.data.as_ref())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_rejected| InvalidPublicKey::Rejected)?;
        Ok(Self {
            spki_der: der.into(),
            hash: SpkiHash::of_spki_der(der),
            kind,
            verifiers: verifiers.into(),
        })
    }

    /// Reads one `PUBLIC KEY` PEM section.
    ///
    /// # Errors
    /// Not exactly one section, or a section that [`PublicKey::from_spki_der`] refuses.
    pub fn from_pem(text: &[u8]) -> Result<Self, InvalidPublicKey> {
        let der = pem::only_section(pem::PUBLIC_KEY, text)
            .map_err(|source| InvalidPublicKey::Pem { source })?;
        Self::from_spki_der(&der)
    }

    /// The key as a DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// The key as one `PUBLIC KEY` PEM section.
    pub fn to_pem(&self) -> String {
        pem::write(pem::PUBLIC_KEY, &self.spki_der)
            .as_str()
            .to_owned()
    }

    /// The hash by which everything else names this key.
    pub fn hash(&self) -> SpkiHash {
        self.hash
    }

    /// Checks that this key signed `message`.
    ///
    /// ECDSA signatures are ASN.1. P-256 is used with SHA-256, RSA with PKCS#1 v1.5 and SHA-256. P-384 is accepted with
    /// SHA-384 and with SHA-256, because signing tools use both.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let signed = self
            .verifiers
            .iter()
            .any(|verifier| verifier.verify_sig(message, signature).is_ok());
        if signed { Ok(()) } else { Err(BadSignature) }
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki_der == other.spki_der
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey")
            .field("kind", &self.kind)
            .field("hash", &self.hash)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of a key's DER `SubjectPublicKeyInfo`: the name of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpkiHash([u8; 32]);

impl SpkiHash {
    /// Hashes the DER of a `SubjectPublicKeyInfo`, whatever it holds.
    pub fn of_spki_der(der: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(hash)
    }

    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    /// Another length, or another character: one hash has one spelling.
    pub fn from_hex(text: &str) -> Result<Self, InvalidSpkiHash> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidSpkiHash::Character);
        }
        let mut hash = [0; 32];
        match hex::decode_to_slice(text, &mut hash) {
            Ok(()) => Ok(Self(hash)),
            Err(hex::FromHexError::OddLength | hex::FromHexError::InvalidStringLength) => {
                Err(InvalidSpkiHash::Length)
            }
            Err(hex::FromHexError::InvalidHexCharacter { .. }) => Err(InvalidSpkiHash::Character),
        }
    }

    /// The hash itself.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SpkiHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SpkiHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SpkiHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SpkiHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(|invalid| {
            de::Error::custom(format_args!("`{text}` is not a key hash: {invalid}"))
        })
    }
}

/// Why some bytes are not a public key that is accepted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPublicKey {
    /// It is longer than [`MAX_PUBLIC_KEY_BYTES`].
    #[error("the public key is longer than {MAX_PUBLIC_KEY_BYTES} bytes")]
    TooLarge,
    /// The text is not one PEM section.
    #[error("the public key is not one PEM section")]
    Pem {
        /// What is wrong with the PEM.
        #[source]
        source: InvalidPem,
    },
    /// It is not a `SubjectPublicKeyInfo`.
    #[error("the public key is not a DER `SubjectPublicKeyInfo`")]
    Malformed,
    /// Bytes follow the structure.
    #[error("bytes follow the public key")]
    TrailingData,
    /// The algorithm is none of ECDSA, Ed25519 and RSA.
    #[error("the public key's algorithm `{oid}` is not accepted")]
    Algorithm {
        /// The algorithm's object identifier.
        oid: String,
    },
    /// The curve is neither P-256 nor P-384, or is not named.
    #[error("the public key's curve is neither P-256 nor P-384")]
    Curve,
    /// The key itself is off its curve, too small, or not encoded as its algorithm says.
    #[error("the public key is too small, off its curve or wrongly encoded")]
    Rejected,
}

/// Why some text is not a key hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpkiHash {
    /// It has not 64 digits.
    #[error("it has not 64 hex digits")]
    Length,
    /// It has something else than lower-case hex digits.
    #[error("it has a character that is not a lower-case hex digit")]
    Character,
}

/// A signature that the key did not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    Rsa,
}

impl KeyKind {
    fn of(spki: &SubjectPublicKeyInfo<'_>) -> Result<Self, InvalidPublicKey> {
        let algorithm = &spki.algorithm.algorithm;
        if *algorithm == ED25519 {
            return Ok(Self::Ed25519);
        }
        if *algorithm == RSA_ENCRYPTION {
            return Ok(Self::Rsa);
        }
        if *algorithm != EC_PUBLIC_KEY {
            return Err(InvalidPublicKey::Algorithm {
                oid: algorithm.to_id_string(),
            });
        }
        let curve = spki
            .algorithm
            .parameters
            .as_ref()
            .and_then(|any| any.as_oid().ok());
        match curve {
            Some(curve) if curve == P256 => Ok(Self::EcdsaP256),
            Some(curve) if curve == P384 => Ok(Self::EcdsaP384),
            Some(_) | None => Err(InvalidPublicKey::Curve),
        }
    }

    const fn algorithms(self) -> &'static [&'static dyn VerificationAlgorithm] {
        match self {
            Self::EcdsaP256 => &[&signature::ECDSA_P256_SHA256_ASN1],
            Self::EcdsaP384 => &[
                &signature::ECDSA_P384_SHA384_ASN1,
                &signature::ECDSA_P384_SHA256_ASN1,
            ],
            Self::Ed25519 => &[&signature::ED25519],
            Self::Rsa => &[&signature::RSA_PKCS1_2048_8192_SHA256],
        }
    }
}

const EC_PUBLIC_KEY: Oid<'static> = oid!(1.2.840.10045.2.1);
const P256: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const P384: Oid<'static> = oid!(1.3.132.0.34);
const ED25519: Oid<'static> = oid!(1.3.101.112);
const RSA_ENCRYPTION: Oid<'static> = oid!(1.2.840.113549.1.1.1);

#[cfg(test)]
mod tests;
