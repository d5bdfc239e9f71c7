//! Owns SPIFFE IDs: what may be called one.
//!
//! The SPIFFE-ID standard lets a parser fold the case of scheme and trust domain. We take only the canonical
//! form, so that one identity has one spelling.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Longest SPIFFE ID that is accepted, in bytes: the length that the standard obliges every parser to support.
pub const MAX_SPIFFE_ID_BYTES: usize = 2048;

/// Longest trust domain name that is accepted, in bytes.
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

const SCHEME: &str = "spiffe://";

/// The identity of a workload: `spiffe://trust-domain/path`, in canonical form and with a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    trust_domain: TrustDomain,
}

impl SpiffeId {
    /// Parses the canonical form of a workload's SPIFFE ID.
    ///
    /// # Errors
    /// The rule of SPIFFE-ID §2 that `text` breaks. An ID without a path names a trust domain, not a workload, and is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidSpiffeId> {
        // SPEC(SPIFFE-ID §2.3): 2048 bytes must be supported
        if text.len() > MAX_SPIFFE_ID_BYTES {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let (trust_domain, path) = rest.split_once('/').ok_or(InvalidSpiffeId::PathMissing)?;
        let trust_domain = TrustDomain::parse(trust_domain)?;
        if path.is_empty() {
            return Err(InvalidSpiffeId::PathMissing);
        }
        path.split('/').try_for_each(check_segment)?;
        Ok(Self {
            text: text.into(),
            trust_domain,
        })
    }

    /// The whole ID, `spiffe://` included.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain that the ID belongs to.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The path with its leading slash.
    pub fn path(&self) -> &str {
        let after_scheme = self.text.strip_prefix(SCHEME).unwrap_or_default();
        after_scheme
            .strip_prefix(self.trust_domain.as_str())
            .unwrap_or_default()
    }

    /// The segments of the path, in order.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        // The part before the leading slash is empty.
        self.path().split('/').skip(1)
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for SpiffeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SpiffeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(|invalid| {
            de::Error::custom(format_args!("`{text}` is not a SPIFFE ID: {invalid}"))
        })
    }
}

/// The name of a trust domain, without scheme.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Parses a trust domain's name, such as `acme.test`.
    ///
    /// # Errors
    /// The rule of SPIFFE-ID §2.1 that `name` breaks.
    pub fn parse(name: &str) -> Result<Self, InvalidTrustDomain> {
        if name.is_empty() {
            return Err(InvalidTrustDomain::Empty);
        }
        if name.len() > MAX_TRUST_DOMAIN_BYTES {
            return Err(InvalidTrustDomain::TooLong);
        }
        // SPEC(SPIFFE-ID §2.1): lower case letters, digits, `.`, `-` and `_`; no port, no user information, no percent encoding
        match name.chars().find(|found| !is_trust_domain_char(*found)) {
            Some(found) => Err(InvalidTrustDomain::Character { found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SPIFFE ID that names the trust domain itself, `spiffe://name`: the key of bundles in the Workload API.
    pub fn spiffe_uri(&self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// Parses the SPIFFE ID of a trust domain, `spiffe://name`.
    ///
    /// # Errors
    /// Another scheme, a path, or a name that is not one.
    pub fn parse_spiffe_uri(uri: &str) -> Result<Self, InvalidTrustDomain> {
        let name = uri.strip_prefix(SCHEME).ok_or(InvalidTrustDomain::Scheme)?;
        Self::parse(name)
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidTrustDomain;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::parse(name)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TrustDomain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TrustDomain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::parse(&name).map_err(|invalid| {
            de::Error::custom(format_args!("`{name}` is not a trust domain: {invalid}"))
        })
    }
}

/// Why some text is not the SPIFFE ID of a workload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// It is longer than [`MAX_SPIFFE_ID_BYTES`].
    #[error("it is longer than {MAX_SPIFFE_ID_BYTES} bytes")]
    TooLong,
    /// It does not begin with the scheme, in lower case.
    #[error("it does not begin with `{SCHEME}`")]
    Scheme,
    /// Its trust domain is not one.
    #[error("its trust domain is not valid")]
    TrustDomain(#[from] InvalidTrustDomain),
    /// It has no path, so it names no workload.
    #[error("it has no path")]
    PathMissing,
    /// Two slashes follow each other, or the path ends with one.
    #[error("its path has an empty segment")]
    SegmentEmpty,
    /// A segment is `.` or `..`.
    #[error("its path has a segment of dots alone")]
    SegmentRelative,
    /// A segment has a character outside `[a-zA-Z0-9._-]`.
    #[error("its path has the character {found:?}")]
    PathCharacter {
        /// The first such character.
        found: char,
    },
}

/// Why some text is not the name of a trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTrustDomain {
    /// A trust domain's SPIFFE ID was expected and the scheme is another.
    #[error("it does not begin with `{SCHEME}`")]
    Scheme,
    /// It is empty.
    #[error("it is empty")]
    Empty,
    /// It is longer than [`MAX_TRUST_DOMAIN_BYTES`].
    #[error("it is longer than {MAX_TRUST_DOMAIN_BYTES} bytes")]
    TooLong,
    /// It has a character outside `[a-z0-9._-]`.
    #[error("it has the character {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
}

/// SPEC(SPIFFE-ID §2.2): segments are not empty, not `.` or `..`, and of `[a-zA-Z0-9._-]`
fn check_segment(segment: &str) -> Result<(), InvalidSpiffeId> {
    if segment.is_empty() {
        return Err(InvalidSpiffeId::SegmentEmpty);
    }
    if segment == "." || segment == ".." {
        return Err(InvalidSpiffeId::SegmentRelative);
    }
    match segment.chars().find(|found| !is_segment_char(*found)) {
        Some(found) => Err(InvalidSpiffeId::PathCharacter { found }),
        None => Ok(()),
    }
}

const fn is_trust_domain_char(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '.' | '-' | '_')
}

const fn is_segment_char(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_')
}

#[cfg(test)]
mod tests;
