//! Why something was refused: every code, its meaning, who fixes it and the next command.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

mod table;

pub use table::{Reason, table_markdown};

impl Reason {
    /// Finds the reason with this stable code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|reason| reason.code() == code)
    }

    /// The HTTP status of the denial that the caller sees.
    ///
    /// Our own faults are 503. `cancelled` has one too, although nobody is left to see it.
    pub const fn http_status(self) -> u16 {
        match (self.kind(), self) {
            (_, Self::IdentityMissing) => 401,
            (_, Self::ArtifactNotFound) => 404,
            (Kind::Ours, _) => 503,
            (Kind::Caller | Kind::Artifact | Kind::Workload, _) => 403,
        }
    }
}

/// What a reason is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The caller, its binding, or what it asked for.
    Caller,
    /// The evidence of an artifact.
    Artifact,
    /// A workload that asked an agent for an identity.
    Workload,
    /// A fault of our own, answered 503.
    Ours,
}

impl Kind {
    /// The kind as a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Artifact => "artifact",
            Self::Workload => "workload",
            Self::Ours => "ours",
        }
    }
}

/// Who can mend the cause of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Party {
    /// The team that builds and runs the workload.
    WorkloadOwner,
    /// The team that runs the mesh, the registry and Countersign.
    Platform,
    /// The team that holds the signing keys and the policy.
    Security,
}

impl Party {
    /// The party in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WorkloadOwner => "workload owner",
            Self::Platform => "platform",
            Self::Security => "security",
        }
    }
}

/// The text is not the code of any reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{code}` is not a reason code")]
pub struct InvalidReason {
    code: String,
}

impl FromStr for Reason {
    type Err = InvalidReason;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        Self::from_code(code).ok_or_else(|| InvalidReason {
            code: code.to_owned(),
        })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        code.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_is_kebab_case_and_unique() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        for code in codes {
            assert!(
                code.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{code}"
            );
        }
    }

    #[test]
    fn every_code_parses_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.code().parse(), Ok(*reason));
            assert_eq!(reason.to_string(), reason.code());
        }
    }

    #[test]
    fn unknown_code_is_invalid_reason() {
        let error = "no-such-reason".parse::<Reason>().unwrap_err();
        assert_eq!(
            error,
            InvalidReason {
                code: "no-such-reason".to_owned()
            }
        );
        assert_eq!(error.to_string(), "`no-such-reason` is not a reason code");
    }

    #[test]
    fn every_reason_says_what_to_do() {
        for reason in Reason::ALL {
            assert!(reason.meaning().ends_with('.'), "{reason}");
            let command = reason.next_command();
            assert!(
                ["authz-service ", "cert-agent "]
                    .iter()
                    .any(|program| command.starts_with(program)),
                "{reason}"
            );
        }
    }

    #[test]
    fn status_follows_who_is_at_fault() {
        assert_eq!(Reason::IdentityMissing.http_status(), 401);
        assert_eq!(Reason::ArtifactNotFound.http_status(), 404);
        assert_eq!(Reason::NoRuleMatched.http_status(), 403);
        assert_eq!(Reason::ArtifactUnsigned.http_status(), 403);
        assert_eq!(Reason::WorkloadGone.http_status(), 403);
        for reason in Reason::ALL
            .iter()
            .filter(|reason| reason.kind() == Kind::Ours)
        {
            assert_eq!(reason.http_status(), 503, "{reason}");
        }
    }
}
