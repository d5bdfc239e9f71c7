//! A typed refusal: one reason, the artifact's own reason beneath it, and what was seen.

use policy::reason::Reason;
use serde::{Deserialize, Serialize};

/// Why something is refused. Every link of the chain that breaks says so with one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The stable reason.
    pub reason: Reason,
    /// The artifact reason that `requirement-unmet` carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Reason>,
    /// What was seen, for the operator. Never sent to the caller.
    pub detail: String,
    /// The rule that refused, or whose requirement was not met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
}

impl Denial {
    /// A denial that no rule is part of.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            cause: None,
            detail: detail.into(),
            rule: None,
        }
    }

    /// The same denial, naming the rule that gave it.
    #[must_use]
    pub fn by_rule(self, rule: &str) -> Self {
        Self {
            rule: Some(rule.to_owned()),
            ..self
        }
    }

    /// The same denial, carrying the artifact reason beneath it.
    #[must_use]
    pub fn because(self, cause: Reason) -> Self {
        Self {
            cause: Some(cause),
            ..self
        }
    }
}
