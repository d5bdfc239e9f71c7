//! The name of an artifact: an algorithm and the hash of its bytes.

use std::{fmt, str::FromStr, sync::Arc};

use aws_lc_rs::digest::{SHA256, SHA512, digest as hash};
use serde::{Deserialize, Serialize};

/// A digest in its one canonical text: `sha256:<64 hex>` or `sha512:<128 hex>`, lower case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

/// The hash functions that a [`Digest`] may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// Why a text is not a [`Digest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// There is no `algorithm:hex`.
    #[error("a digest is `algorithm:hex`")]
    NoAlgorithm,
    /// The algorithm is neither sha256 nor sha512.
    #[error("the digest algorithm is neither sha256 nor sha512")]
    UnknownAlgorithm,
    /// The hash has the wrong number of digits for its algorithm.
    #[error("the hash has {got} digits, wanted {wanted}")]
    WrongLength {
        /// Digits that the algorithm has.
        wanted: usize,
        /// Digits that were given.
        got: usize,
    },
    /// A character is not a lower-case hexadecimal digit.
    #[error("the hash is not lower-case hexadecimal")]
    NotHex,
}

impl Digest {
    /// Reads the canonical text; nothing is repaired.
    ///
    /// # Errors
    /// [`InvalidDigest`], one variant per broken rule.
    pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let (algorithm, hex) = text.split_once(':').ok_or(InvalidDigest::NoAlgorithm)?;
        let algorithm = Algorithm::from_name(algorithm).ok_or(InvalidDigest::UnknownAlgorithm)?;
        let wanted = algorithm.hex_digits();
        if hex.len() != wanted {
            return Err(InvalidDigest::WrongLength {
                wanted,
                got: hex.len(),
            });
        }
        if !hex
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        {
            return Err(InvalidDigest::NotHex);
        }
        Ok(Self(Arc::from(text)))
    }

    /// Hashes `bytes` with SHA-256.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        Self::from_hash(Algorithm::Sha256, hash(&SHA256, bytes).as_ref())
    }

    /// Hashes `bytes` with SHA-512.
    pub fn sha512_of(bytes: &[u8]) -> Self {
        Self::from_hash(Algorithm::Sha512, hash(&SHA512, bytes).as_ref())
    }

    /// Names a SHA-256 hash that was already computed.
    pub fn sha256(hash: [u8; 32]) -> Self {
        Self::from_hash(Algorithm::Sha256, &hash)
    }

    /// True if `bytes` hash to this digest under its own algorithm.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        *self == self.algorithm().of(bytes)
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with(Algorithm::Sha512.name()) {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        }
    }

    /// The hash in lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn from_hash(algorithm: Algorithm, hash: &[u8]) -> Self {
        Self(Arc::from(format!(
            "{}:{}",
            algorithm.name(),
            hex::encode(hash)
        )))
    }
}

impl Algorithm {
    /// The algorithm's name in a digest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Hashes `bytes`.
    pub fn of(self, bytes: &[u8]) -> Digest {
        match self {
            Self::Sha256 => Digest::sha256_of(bytes),
            Self::Sha512 => Digest::sha512_of(bytes),
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    const fn hex_digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;

    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn empty_bytes_have_the_known_digest() {
        let digest = Digest::sha256_of(b"");
        assert_eq!(digest.as_str(), EMPTY);
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(digest.hex().len(), 64);
        assert!(digest.matches(b"") && !digest.matches(b"x"));
    }

    #[test]
    fn sha512_is_read_back_with_its_own_algorithm() {
        let digest = Digest::sha512_of(b"abc");
        assert_eq!(Digest::parse(digest.as_str()), Ok(digest.clone()));
        assert_eq!(digest.algorithm(), Algorithm::Sha512);
        assert!(digest.matches(b"abc"));
    }

    #[test]
    fn each_broken_rule_has_its_own_error() {
        assert_eq!(Digest::parse("e3b0"), Err(InvalidDigest::NoAlgorithm));
        assert_eq!(
            Digest::parse("md5:e3b0"),
            Err(InvalidDigest::UnknownAlgorithm)
        );
        assert_eq!(
            Digest::parse("sha256:e3b0"),
            Err(InvalidDigest::WrongLength { wanted: 64, got: 4 })
        );
        assert_eq!(
            Digest::parse(&EMPTY.to_uppercase().replace("SHA256", "sha256")),
            Err(InvalidDigest::NotHex)
        );
        assert_eq!(
            Digest::parse("SHA256:e3b0"),
            Err(InvalidDigest::UnknownAlgorithm)
        );
    }

    #[test]
    fn serde_refuses_what_parse_refuses() {
        assert!(serde_json::from_str::<Digest>(&format!("\"{EMPTY}\"")).is_ok());
        assert!(serde_json::from_str::<Digest>("\"sha256:no\"").is_err());
    }
}
