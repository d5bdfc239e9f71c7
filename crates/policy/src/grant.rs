//! Grants: which workload gets which identity.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use identity::SpiffeId;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::requirement::Requirement;

/// One grant: a workload that shows these selectors and runs such an artifact gets this identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name, unique among grants: lower-case letters, digits and hyphens.
    pub name: Arc<str>,
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// What must have been observed of the workload: all of them. Never empty.
    pub selectors: Vec<Selector>,
    /// What each of its artifacts must be.
    pub artifact: Requirement,
    /// How long an SVID lives.
    pub ttl: Duration,
    /// DNS names in the SVID.
    pub dns_names: Vec<String>,
    /// The hint by which a workload with several identities tells them apart.
    pub hint: Option<String>,
    /// Whom to ask about it.
    pub contact: Option<String>,
}

impl Grant {
    /// Whether all of the grant's selectors are among those observed.
    pub fn selects(&self, observed: &[Selector]) -> bool {
        !self.selectors.is_empty()
            && self
                .selectors
                .iter()
                .all(|wanted| observed.contains(wanted))
    }
}

/// Life of an SVID whose grant names none: short enough that a stolen key is soon useless, long enough to outlive an issuer's restart.
pub const DEFAULT_TTL: Duration = Duration::from_hours(1);
/// Shortest life of an SVID: below it, renewal at half-life cannot ride out one failed attempt.
pub const MIN_TTL: Duration = Duration::from_secs(10);
/// Longest life of an SVID: there is no revocation list, so a day is the longest that a removed grant may linger.
pub const MAX_TTL: Duration = Duration::from_hours(24);

/// One observed fact about a workload: `type:key:value`, such as `unix:uid:1000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector(Arc<str>);

/// The text is not a selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelector {
    /// There are not three parts.
    #[error("selector `{selector}` is not of the form `type:key:value`")]
    Parts {
        /// The text as given.
        selector: String,
    },
    /// Type or key holds something other than lower-case letters, digits, `-` and `_`.
    #[error(
        "type and key of selector `{selector}` may hold only lower-case letters, digits, `-` and `_`"
    )]
    Name {
        /// The text as given.
        selector: String,
    },
    /// The value is empty or holds a control character.
    #[error("the value of selector `{selector}` is empty or holds a control character")]
    Value {
        /// The text as given.
        selector: String,
    },
}

impl Selector {
    /// Reads `type:key:value`. The value may hold colons.
    ///
    /// # Errors
    /// When the text is not of that form.
    pub fn parse(text: &str) -> Result<Self, InvalidSelector> {
        let selector = || text.to_owned();
        let mut parts = text.splitn(3, ':');
        let (Some(kind), Some(key), Some(value)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidSelector::Parts {
                selector: selector(),
            });
        };
        if ![kind, key].into_iter().all(is_selector_name) {
            return Err(InvalidSelector::Name {
                selector: selector(),
            });
        }
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(InvalidSelector::Value {
                selector: selector(),
            });
        }
        Ok(Self(text.into()))
    }

    /// The whole selector.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value, if this selector has that type and key.
    pub fn value_of(&self, kind: &str, key: &str) -> Option<&str> {
        self.0
            .strip_prefix(kind)?
            .strip_prefix(':')?
            .strip_prefix(key)?
            .strip_prefix(':')
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

fn is_selector_name(text: &str) -> bool {
    let admitted = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    !text.is_empty() && text.bytes().all(admitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selector_has_type_key_and_value() {
        let selector = Selector::parse("unix:path:/opt/a:b").unwrap();
        assert_eq!(selector.value_of("unix", "path"), Some("/opt/a:b"));
        assert_eq!(selector.value_of("unix", "uid"), None);
        assert_eq!(selector.to_string(), "unix:path:/opt/a:b");
    }

    #[test]
    fn malformed_selectors_are_refused() {
        let parts = |text: &str| InvalidSelector::Parts {
            selector: text.to_owned(),
        };
        let name = |text: &str| InvalidSelector::Name {
            selector: text.to_owned(),
        };
        let value = |text: &str| InvalidSelector::Value {
            selector: text.to_owned(),
        };
        for (text, expected) in [
            ("", parts("")),
            ("unix:uid", parts("unix:uid")),
            ("Unix:uid:1", name("Unix:uid:1")),
            (":uid:1", name(":uid:1")),
            ("unix::1", name("unix::1")),
            ("unix:uid:", value("unix:uid:")),
            ("unix:uid:1\n", value("unix:uid:1\n")),
        ] {
            assert_eq!(Selector::parse(text), Err(expected));
        }
    }
}
