//! PURE. The question that `decide` is asked: who calls, what for, and what is known of the artifact so far.

use std::sync::Arc;

use evidence::digest::Digest;
use evidence::vouched::Vouched;
use serde::{Deserialize, Serialize};

use crate::caller::Caller;
use crate::denial::Denial;
use crate::target::Target;

/// All that a decision reads besides the snapshot and the time. Records and replays hold the same value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Who calls.
    pub caller: Fact<Caller>,
    /// What is asked for.
    pub target: Fact<Target>,
    /// The artifact about to be served. `None` until a decision said that it needs one.
    pub artifact: Option<Fact<TargetArtifact>>,
}

impl Question {
    /// The first asking: nothing is known of an artifact yet.
    pub fn new(caller: impl Into<Fact<Caller>>, target: impl Into<Fact<Target>>) -> Self {
        Self {
            caller: caller.into(),
            target: target.into(),
            artifact: None,
        }
    }

    /// The same question, asked again with what was learnt of the artifact.
    #[must_use]
    pub fn with_artifact(self, artifact: impl Into<Fact<TargetArtifact>>) -> Self {
        Self {
            artifact: Some(artifact.into()),
            ..self
        }
    }
}

/// Something that was looked for: found, or refused with a reason. There is no third state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fact<T> {
    /// It was found.
    Known(T),
    /// It was not, and this is why.
    Refused(Denial),
}

impl<T> Fact<T> {
    /// The value, if it was found.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Refused(_) => None,
        }
    }
}

impl<T> From<Result<T, Denial>> for Fact<T> {
    fn from(result: Result<T, Denial>) -> Self {
        match result {
            Ok(value) => Self::Known(value),
            Err(denial) => Self::Refused(denial),
        }
    }
}

/// What would be served, and what verified evidence proves about it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TargetArtifact {
    /// The digest that would be served: the manifest that a tag resolved to, or the manifest or blob that was asked for.
    pub digest: Digest,
    /// What is proved about `digest`, or about the verified manifest or index whose closure holds it.
    pub vouched: Arc<Vouched>,
}
