//! How far along the chain a decision was reached.

use policy::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::denial::Denial;

/// The links in the order they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Link {
    /// The caller's certificate proves one identity.
    Identity,
    /// The request names one known target.
    Target,
    /// An agent vouches for this key and this identity, now.
    Binding,
    /// No rule denies, and some rule permits this caller this target.
    Rule,
    /// The caller's artifact meets the rule's requirement.
    CallerArtifact,
    /// The artifact about to be served meets the rule's requirement.
    TargetArtifact,
}

/// What became of one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An earlier link broke, or nothing asked for this one.
    #[default]
    NotReached,
    /// It holds.
    Held,
    /// It broke, for this reason.
    Broke(Reason),
    /// It waits for an artifact.
    Waits,
}

/// One link and what became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The link.
    pub link: Link,
    /// What became of it.
    pub outcome: Outcome,
}

/// Every link and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    identity: Outcome,
    target: Outcome,
    binding: Outcome,
    rule: Outcome,
    caller_artifact: Outcome,
    target_artifact: Outcome,
}

impl Trail {
    /// The steps in the order they were tried.
    pub fn steps(&self) -> [Step; 6] {
        let Self {
            identity,
            target,
            binding,
            rule,
            caller_artifact,
            target_artifact,
        } = *self;
        [
            Step {
                link: Link::Identity,
                outcome: identity,
            },
            Step {
                link: Link::Target,
                outcome: target,
            },
            Step {
                link: Link::Binding,
                outcome: binding,
            },
            Step {
                link: Link::Rule,
                outcome: rule,
            },
            Step {
                link: Link::CallerArtifact,
                outcome: caller_artifact,
            },
            Step {
                link: Link::TargetArtifact,
                outcome: target_artifact,
            },
        ]
    }

    /// Notes whether a link holds, and hands the result on.
    pub(super) fn hold<T>(&mut self, link: Link, result: Result<T, Denial>) -> Result<T, Denial> {
        self.note(
            link,
            result
                .as_ref()
                .map_or_else(|denial| Outcome::Broke(denial.reason), |_| Outcome::Held),
        );
        result
    }

    /// Notes that some permit came as far as `link` and broke there.
    pub(super) fn broke(&mut self, link: Link, reason: Reason) {
        for held in [Link::Rule, Link::CallerArtifact]
            .into_iter()
            .filter(|earlier| *earlier < link)
        {
            self.note(held, Outcome::Held);
        }
        self.note(link, Outcome::Broke(reason));
    }

    /// Notes what became of a link.
    pub(super) fn note(&mut self, link: Link, outcome: Outcome) {
        let slot = match link {
            Link::Identity => &mut self.identity,
            Link::Target => &mut self.target,
            Link::Binding => &mut self.binding,
            Link::Rule => &mut self.rule,
            Link::CallerArtifact => &mut self.caller_artifact,
            Link::TargetArtifact => &mut self.target_artifact,
        };
        *slot = outcome;
    }
}
