//! Patterns of slash-separated names: repositories and paths of service calls.

use std::fmt;

use super::MAX_PATTERN_BYTES;
use super::segments::{self, Segment};

/// A pattern of repositories (`prod/**`) or of request paths (`/v1/charges/*`).
///
/// `*` does not match an empty segment, so `/v1/*` does not match `/v1/`; `**` matches any segments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    /// Empty for a repository, `/` for a request path.
    root: &'static str,
    segments: Vec<Segment>,
}

/// The text is not a pattern of repositories or paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPathPattern {
    /// A request path begins with a slash.
    #[error("path pattern `{pattern}` does not start with `/`")]
    NotAbsolute {
        /// The text as given.
        pattern: String,
    },
    /// A segment of a repository is neither a wildcard nor a component of a repository name.
    #[error("segment `{segment}` is neither `*`, `**` nor a component of a repository name")]
    RepositorySegment {
        /// The segment.
        segment: String,
    },
    /// A segment of a request path is neither a wildcard nor in canonical form.
    #[error("segment `{segment}` is neither `*`, `**` nor a segment of a canonical path")]
    PathSegment {
        /// The segment.
        segment: String,
    },
    /// The pattern is too long.
    #[error("path pattern is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
}

impl PathPattern {
    /// Reads a pattern of repositories. It has no leading slash.
    ///
    /// # Errors
    /// When a segment is neither a wildcard nor a component of a repository name.
    pub fn repository(text: &str) -> Result<Self, InvalidPathPattern> {
        check_length(text)?;
        let segment = |text: &str| {
            Segment::parse(text)
                .filter(|segment| segment.literal().is_none_or(is_repository_component))
                .ok_or_else(|| InvalidPathPattern::RepositorySegment {
                    segment: text.to_owned(),
                })
        };
        Ok(Self {
            root: "",
            segments: text.split('/').map(segment).collect::<Result<_, _>>()?,
        })
    }

    /// Reads a pattern of request paths. It begins with a slash.
    ///
    /// # Errors
    /// When it does not begin with a slash, or a literal segment could never be part of a canonical path.
    pub fn request_path(text: &str) -> Result<Self, InvalidPathPattern> {
        check_length(text)?;
        let relative = text
            .strip_prefix('/')
            .ok_or_else(|| InvalidPathPattern::NotAbsolute {
                pattern: text.to_owned(),
            })?;
        let parts: Vec<&str> = relative.split('/').collect();
        let last = parts.len();
        let segment = |(index, text): (usize, &&str)| {
            Segment::parse(text)
                .filter(|segment| {
                    segment
                        .literal()
                        .is_none_or(|text| is_path_segment(text, index + 1 == last))
                })
                .ok_or_else(|| InvalidPathPattern::PathSegment {
                    segment: (*text).to_owned(),
                })
        };
        Ok(Self {
            root: "/",
            segments: parts
                .iter()
                .enumerate()
                .map(segment)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether the repository or path matches.
    pub fn matches(&self, name: &str) -> bool {
        name.strip_prefix(self.root)
            .is_some_and(|name| segments::matches(&self.segments, name.split('/')))
    }

    /// Whether every name that `narrow` matches is matched here too. Sound, not complete.
    pub(crate) fn covers(&self, narrow: &Self) -> bool {
        self.root == narrow.root && segments::covers(&self.segments, &narrow.segments)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.root)?;
        segments::write_joined(&self.segments, '/', f)
    }
}

fn check_length(text: &str) -> Result<(), InvalidPathPattern> {
    if text.len() > MAX_PATTERN_BYTES {
        Err(InvalidPathPattern::TooLong)
    } else {
        Ok(())
    }
}

/// SPEC(OCI distribution §pulling manifests): `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` for each component.
fn is_repository_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separator = String::new();
    let mut separators = Vec::new();
    for byte in text.bytes() {
        if alphanumeric(byte) {
            separators.push(std::mem::take(&mut separator));
        } else {
            separator.push(char::from(byte));
        }
    }
    let valid = |separator: &String| {
        matches!(separator.as_str(), "" | "." | "_" | "__")
            || separator.bytes().all(|byte| byte == b'-')
    };
    let starts_clean = separators.first().is_some_and(String::is_empty);
    starts_clean && separator.is_empty() && separators.iter().all(valid)
}

/// A segment that a canonical path can hold. Only the last may be empty, which is a path that ends in a slash.
fn is_path_segment(text: &str, is_last: bool) -> bool {
    let canonical = |byte: u8| byte.is_ascii_graphic() && !b"/\\%?#;*".contains(&byte);
    (is_last || !text.is_empty()) && text != "." && text != ".." && text.bytes().all(canonical)
}
