//! A refusal: why a peer, a program or a scope gets no identity.

use evidence::{
    binding::{MAX_DETAIL_BYTES, MAX_NAME_BYTES},
    digest::Digest,
};
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
    /// Refuses for a reason, about nobody yet. Words past [`MAX_DETAIL_BYTES`] are cut: a path in them may be as long as the refused one likes.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: cut(detail.into(), MAX_DETAIL_BYTES),
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
        self.workload = cut(workload.into(), MAX_NAME_BYTES);
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

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

const CUT: &str = "…";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_any_length_are_cut_between_characters() {
        for text in ["\u{1}", "é", "a"] {
            let refused = Refused::new(Reason::WorkloadNotIsolated, text.repeat(4096))
                .of(text.repeat(4096), Vec::new());
            assert!(refused.detail.len() <= MAX_DETAIL_BYTES);
            assert!(refused.workload.len() <= MAX_NAME_BYTES);
            assert!(refused.detail.starts_with(text) && refused.detail.ends_with(CUT));
        }
    }

    #[test]
    fn words_that_fit_are_left_as_they_are() {
        let text = "x".repeat(MAX_DETAIL_BYTES);
        let refused = Refused::new(Reason::WorkloadNotIsolated, text.clone());
        assert_eq!(refused.detail, text);
    }
}
