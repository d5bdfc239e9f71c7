//! A refusal: why a peer, a program or a scope gets no identity.

use evidence::digest::Digest;
use identity::spiffe_id::SpiffeId;
use policy::{grant::Selector, reason::Reason};

/// Why somebody gets no identity, with what is known about who was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refused {
    /// The reason.
    pub reason: Reason,
    /// What was found, for the operator.
    pub detail: String,
    /// The workload's id, or `pid N` for a process outside the agent's scopes; empty where neither is known.
    pub workload: String,
    /// What was observed about the process.
    pub selectors: Vec<Selector>,
    /// The digests of what it runs, where they could be read.
    pub digests: Vec<Digest>,
    /// The grant that nearly matched; `entitle` knows.
    pub grant: Option<String>,
    /// The identity that grant would have given.
    pub wanted: Option<SpiffeId>,
}

impl Refused {
    /// Refuses for a reason, about nobody yet.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            workload: String::new(),
            selectors: Vec::new(),
            digests: Vec::new(),
            grant: None,
            wanted: None,
        }
    }

    /// Adds who was refused.
    #[must_use]
    pub fn of(mut self, workload: impl Into<String>, selectors: Vec<Selector>) -> Self {
        self.workload = workload.into();
        self.selectors = selectors;
        self
    }

    /// Adds what the refused one runs.
    #[must_use]
    pub fn running(mut self, digests: impl IntoIterator<Item = Digest>) -> Self {
        self.digests.extend(digests);
        self
    }
}
