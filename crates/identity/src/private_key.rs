//! Owns private keys: their making, their encoding, and signing.

use std::fmt;

use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use zeroize::Zeroizing;

use crate::{
    pem::{self, InvalidPem},
    public_key::PublicKey,
};

/// An ECDSA P-256 key. It is wiped when dropped, cannot be cloned, and does not print itself.
pub struct PrivateKey {
    pair: EcdsaKeyPair,
    pkcs8_der: Zeroizing<Vec<u8>>,
    public_key: PublicKey,
}

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// The system's source of randomness failed.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map_err(|_unspecified| KeyError::Generate)?;
        let document = pair
            .to_pkcs8v1()
            .map_err(|_unspecified| KeyError::Generate)?;
        let pkcs8_der = Zeroizing::new(document.as_ref().to_vec());
        Self::new(pair, pkcs8_der).map_err(|_invalid| KeyError::Generate)
    }

    /// Reads an unencrypted PKCS#8 key.
    ///
    /// # Errors
    /// The bytes are not the PKCS#8 form of a P-256 key.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, InvalidPrivateKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der)
            .map_err(|_rejected| InvalidPrivateKey::Rejected)?;
        Self::new(pair, Zeroizing::new(der.to_vec()))
    }

    /// Reads one `PRIVATE KEY` PEM section.
    ///
    /// # Errors
    /// Not exactly one section, or a section that [`PrivateKey::from_pkcs8_der`] refuses.
    pub fn from_pkcs8_pem(text: &[u8]) -> Result<Self, InvalidPrivateKey> {
        let der = pem::only_section(pem::PRIVATE_KEY, text)
            .map_err(|source| InvalidPrivateKey::Pem { source })?;
        Self::from_pkcs8_der(&der)
    }

    /// The unencrypted PKCS#8 form. Copies of it are the caller's to wipe.
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8_der
    }

    /// The key as one `PRIVATE KEY` PEM section, wiped when dropped.
    pub fn pkcs8_pem(&self) -> Zeroizing<String> {
        pem::write(pem::PRIVATE_KEY, &self.pkcs8_der)
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Signs the SHA-256 of `message`; the signature is ASN.1.
    ///
    /// # Errors
    /// The system's source of randomness failed.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair
            .sign(&SystemRandom::new(), message)
            .map(|signature| signature.as_ref().to_vec())
            .map_err(|_unspecified| KeyError::Sign)
    }

    fn new(pair: EcdsaKeyPair, pkcs8_der: Zeroizing<Vec<u8>>) -> Result<Self, InvalidPrivateKey> {
        let spki: PublicKeyX509Der<'_> = pair
            .public_key()
            .as_der()
            .map_err(|_unspecified| InvalidPrivateKey::Rejected)?;
        let public_key = PublicKey::from_spki_der(spki.as_ref())
            .map_err(|_invalid| InvalidPrivateKey::Rejected)?;
        Ok(Self {
            pair,
            pkcs8_der,
            public_key,
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(ECDSA P-256)")
    }
}

/// Why some bytes are not a private key that is accepted.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPrivateKey {
    /// The text is not one PEM section.
    #[error("the private key is not one PEM section")]
    Pem {
        /// What is wrong with the PEM.
        #[source]
        source: InvalidPem,
    },
    /// The bytes are not the PKCS#8 form of a P-256 key.
    #[error("the private key is not an unencrypted PKCS#8 key on P-256")]
    Rejected,
}

/// A private key could not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No key could be made.
    #[error("no private key could be generated")]
    Generate,
    /// The message could not be signed.
    #[error("the message could not be signed")]
    Sign,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_der_and_pem() {
        let key = PrivateKey::generate().unwrap();
        let from_der = PrivateKey::from_pkcs8_der(key.pkcs8_der()).unwrap();
        let from_pem = PrivateKey::from_pkcs8_pem(key.pkcs8_pem().as_bytes()).unwrap();
        assert_eq!(from_der.public_key(), key.public_key());
        assert_eq!(from_pem.public_key(), key.public_key());
    }

    #[test]
    fn signature_verifies_with_the_public_half_alone() {
        let key = PrivateKey::generate().unwrap();
        let signature = key.sign(b"message").unwrap();
        assert!(key.public_key().verify(b"message", &signature).is_ok());
        assert!(key.public_key().verify(b"massage", &signature).is_err());
        let other = PrivateKey::generate().unwrap();
        assert!(other.public_key().verify(b"message", &signature).is_err());
    }

    #[test]
    fn debug_prints_the_algorithm_only() {
        let key = PrivateKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey(ECDSA P-256)");
    }

    #[test]
    fn other_curve_is_rejected() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(matches!(
            PrivateKey::from_pkcs8_der(p384.serialized_der()),
            Err(InvalidPrivateKey::Rejected)
        ));
    }

    #[test]
    fn public_key_is_no_private_key() {
        let text = PrivateKey::generate().unwrap().public_key().to_pem();
        assert!(matches!(
            PrivateKey::from_pkcs8_pem(text.as_bytes()),
            Err(InvalidPrivateKey::Pem { .. })
        ));
    }
}
