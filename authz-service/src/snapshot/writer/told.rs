//! The pieces of evidence that one agent told of one digest.

use evidence::{Evidence, MAX_EVIDENCE_PIECES, MAX_EVIDENCE_TOTAL_BYTES};

/// The pieces, each once and the newest last. An honest agent's whole set always fits: what is pushed out is older than that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Since the agent's last hello.
    now: Vec<Evidence>,
    /// Before that, until the agent has said all it knows.
    before: Vec<Evidence>,
}

impl Told {
    /// Takes pieces in, as far as there is room for their bytes. No piece at all takes back everything told before.
    pub(super) fn add(&mut self, evidence: Vec<Evidence>, room: usize) {
        if evidence.is_empty() {
            *self = Self::default();
        }
        let most = self.bytes().saturating_add(room);
        for piece in evidence {
            self.before.retain(|old| *old != piece);
            push(&mut self.now, piece);
            if self.bytes() > most {
                self.now.pop();
            }
        }
    }

    /// What was told counts until [`Told::end_anew`], unless it is told again.
    pub(super) fn begin_anew(&mut self) {
        for piece in std::mem::take(&mut self.now) {
            push(&mut self.before, piece);
        }
    }

    /// Drops what was not told again.
    pub(super) fn end_anew(&mut self) {
        self.before.clear();
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Evidence> {
        self.now.iter().chain(&self.before)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.now.is_empty() && self.before.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        bytes(&self.now).saturating_add(bytes(&self.before))
    }
}

fn push(kept: &mut Vec<Evidence>, piece: Evidence) {
    kept.retain(|old| *old != piece);
    kept.push(piece);
    while kept.len() > MAX_EVIDENCE_PIECES || bytes(kept) > MAX_EVIDENCE_TOTAL_BYTES {
        kept.remove(0);
    }
}

fn bytes(evidence: &[Evidence]) -> usize {
    evidence.iter().map(Evidence::size).sum()
}
