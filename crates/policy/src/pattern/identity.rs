//! Patterns of SPIFFE IDs.

use std::fmt;

use identity::spiffe_id::{SpiffeId, TrustDomain};

use super::MAX_PATTERN_BYTES;
use super::segments::{self, Segment};

/// A pattern of SPIFFE IDs: one trust domain, never a wildcard, and a pattern of the path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdentityPattern {
    trust_domain: TrustDomain,
    segments: Vec<Segment>,
}

/// The text is not a pattern of SPIFFE IDs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentityPattern {
    /// The scheme is missing, or not in lower case.
    #[error("identity pattern `{pattern}` does not start with `spiffe://`")]
    Scheme {
        /// The text as given.
        pattern: String,
    },
    /// The trust domain is not valid. Wildcards are not admitted in it.
    #[error(
        "identity pattern `{pattern}` has no valid trust domain; a trust domain takes no wildcard"
    )]
    TrustDomain {
        /// The text as given.
        pattern: String,
    },
    /// Nothing follows the trust domain.
    #[error(
        "identity pattern `{pattern}` has no path; `/**` matches every identity of the trust domain"
    )]
    NoPath {
        /// The text as given.
        pattern: String,
    },
    /// A segment is neither a wildcard nor a valid segment of a SPIFFE ID.
    #[error("segment `{segment}` is neither `*`, `**` nor a segment of a SPIFFE ID")]
    Segment {
        /// The segment.
        segment: String,
    },
    /// The pattern is longer than any SPIFFE ID.
    #[error("identity pattern is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
}

impl IdentityPattern {
    /// Reads a pattern such as `spiffe://acme.test/node/*/containerd`.
    ///
    /// # Errors
    /// When the text is not such a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidIdentityPattern> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(InvalidIdentityPattern::TooLong);
        }
        let pattern = || text.to_owned();
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| InvalidIdentityPattern::Scheme { pattern: pattern() })?;
        let (trust_domain, path) = rest
            .split_once('/')
            .ok_or_else(|| InvalidIdentityPattern::NoPath { pattern: pattern() })?;
        let trust_domain = TrustDomain::parse(trust_domain)
            .map_err(|_invalid| InvalidIdentityPattern::TrustDomain { pattern: pattern() })?;
        let segments = path
            .split('/')
            .map(|text| parse_segment(&trust_domain, text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            trust_domain,
            segments,
        })
    }

    /// Whether the identity matches.
    pub fn matches(&self, id: &SpiffeId) -> bool {
        *id.trust_domain() == self.trust_domain && segments::matches(&self.segments, id.segments())
    }

    /// Whether every identity that `narrow` matches is matched here too. Sound, not complete.
    pub(crate) fn covers(&self, narrow: &Self) -> bool {
        self.trust_domain == narrow.trust_domain
            && segments::covers(&self.segments, &narrow.segments)
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}", self.trust_domain)?;
        self.segments
            .iter()
            .try_for_each(|segment| write!(f, "/{segment}"))
    }
}

/// A literal is a segment if a SPIFFE ID made of it alone is valid: one grammar for both.
fn parse_segment(
    trust_domain: &TrustDomain,
    text: &str,
) -> Result<Segment, InvalidIdentityPattern> {
    let invalid = || InvalidIdentityPattern::Segment {
        segment: text.to_owned(),
    };
    let segment = Segment::parse(text).ok_or_else(invalid)?;
    match &segment {
        Segment::One | Segment::Any => Ok(segment),
        Segment::Literal(literal) => SpiffeId::parse(&format!("{SCHEME}{trust_domain}/{literal}"))
            .map(|_valid| segment.clone())
            .map_err(|_invalid| invalid()),
    }
}

const SCHEME: &str = "spiffe://";
