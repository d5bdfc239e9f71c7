//! Patterns of host names.

use std::fmt;

use super::segments::{self, Segment};

/// A pattern of host names without a port. A segment is a label: `*.acme.test` matches `a.acme.test`, not `a.b.acme.test`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPattern {
    labels: Vec<Segment>,
}

/// The text is not a pattern of host names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHostPattern {
    /// Ports are not part of a host pattern.
    #[error("host pattern `{pattern}` has a port; ports are ignored, leave it out")]
    Port {
        /// The text as given.
        pattern: String,
    },
    /// A label is neither a wildcard nor a label of a lower-case host name.
    #[error("label `{label}` is neither `*`, `**` nor a label of a lower-case host name")]
    Label {
        /// The label.
        label: String,
    },
    /// The pattern is longer than any host name.
    #[error("host pattern is longer than {MAX_HOST_BYTES} bytes")]
    TooLong,
}

impl HostPattern {
    /// Reads a pattern such as `registry.acme.test` or `*.acme.test`.
    ///
    /// # Errors
    /// When the text is not such a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidHostPattern> {
        if text.len() > MAX_HOST_BYTES {
            return Err(InvalidHostPattern::TooLong);
        }
        if text.contains(':') {
            return Err(InvalidHostPattern::Port {
                pattern: text.to_owned(),
            });
        }
        let label = |text: &str| {
            Segment::parse(text)
                .filter(|segment| segment.literal().is_none_or(is_label))
                .ok_or_else(|| InvalidHostPattern::Label {
                    label: text.to_owned(),
                })
        };
        Ok(Self {
            labels: text.split('.').map(label).collect::<Result<_, _>>()?,
        })
    }

    /// Whether the host matches. It must be in lower case, without port and trailing dot.
    pub fn matches(&self, host: &str) -> bool {
        segments::matches(&self.labels, host.split('.'))
    }

    /// Whether every host that `narrow` matches is matched here too. Sound, not complete.
    pub(crate) fn covers(&self, narrow: &Self) -> bool {
        segments::covers(&self.labels, &narrow.labels)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        segments::write_joined(&self.labels, '.', f)
    }
}

/// Whether the text is a host name in lower case, without wildcard, port and trailing dot.
pub(crate) fn is_dns_name(text: &str) -> bool {
    text.len() <= MAX_HOST_BYTES && text.split('.').all(is_label)
}

/// Whether the text is a label of a host name in lower case.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    let hyphen_at_end = text.starts_with('-') || text.ends_with('-');
    (1..=MAX_LABEL_BYTES).contains(&text.len()) && !hyphen_at_end && text.bytes().all(inner)
}

/// RFC 1035 §2.3.4.
const MAX_LABEL_BYTES: usize = 63;
/// RFC 1035 §2.3.4, less the root label.
const MAX_HOST_BYTES: usize = 253;
