//! The evidence that agents sent, by digest, with what this service itself verified of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use evidence::signer::SignerSet;
use evidence::vouched::Vouched;
use evidence::{Digest, Evidence};
use identity::public_key::SpkiHash;
use identity::spiffe_id::SpiffeId;

/// Everything known of digests. What one agent sends never displaces what another sent.
#[derive(Debug, Default)]
pub(super) struct Known(HashMap<Digest, Item>);

#[derive(Debug)]
struct Item {
    by_agent: BTreeMap<SpiffeId, Vec<Evidence>>,
    vouched: Arc<Vouched>,
    /// Keys whose bindings name this digest.
    holders: HashSet<SpkiHash>,
}

impl Known {
    /// What evidence proves of this digest. `None` without any evidence.
    pub(super) fn vouched(&self, digest: &Digest) -> Option<Arc<Vouched>> {
        let item = self.0.get(digest)?;
        (!item.by_agent.is_empty()).then(|| Arc::clone(&item.vouched))
    }

    /// Takes an agent's evidence for a digest in place of what it sent before. Returns the keys whose bindings it bears on.
    pub(super) fn learn(
        &mut self,
        agent: &SpiffeId,
        digest: &Digest,
        evidence: Vec<Evidence>,
        signers: &SignerSet,
    ) -> Vec<SpkiHash> {
        if self.0.len() >= MAX_DIGESTS && !self.0.contains_key(digest) {
            return Vec::new();
        }
        let item = self
            .0
            .entry(digest.clone())
            .or_insert_with(|| Item::new(digest, signers));
        let kept = evidence.into_iter().take(MAX_EVIDENCE_PER_AGENT).collect();
        item.by_agent.insert(agent.clone(), kept);
        item.verify(digest, signers);
        item.holders.iter().copied().collect()
    }

    /// Notes that a key's binding names this digest.
    pub(super) fn hold(&mut self, digest: &Digest, key: SpkiHash, signers: &SignerSet) {
        if self.0.len() < MAX_DIGESTS || self.0.contains_key(digest) {
            self.0
                .entry(digest.clone())
                .or_insert_with(|| Item::new(digest, signers))
                .holders
                .insert(key);
        }
    }

    /// Notes that a key's binding is gone.
    pub(super) fn release(&mut self, digest: &Digest, key: &SpkiHash) {
        if let Some(item) = self.0.get_mut(digest) {
            item.holders.remove(key);
            if item.holders.is_empty() && item.by_agent.is_empty() {
                self.0.remove(digest);
            }
        }
    }

    /// Drops what this agent sent of digests that it no longer speaks of. Returns the keys whose bindings it bears on.
    pub(super) fn forget(
        &mut self,
        agent: &SpiffeId,
        still: &HashSet<Digest>,
        signers: &SignerSet,
    ) -> Vec<SpkiHash> {
        let mut touched = Vec::new();
        for (digest, item) in &mut self.0 {
            if !still.contains(digest) && item.by_agent.remove(agent).is_some() {
                item.verify(digest, signers);
                touched.extend(item.holders.iter().copied());
            }
        }
        self.0
            .retain(|_digest, item| !item.holders.is_empty() || !item.by_agent.is_empty());
        touched
    }

    /// Verifies everything anew: the signers changed.
    pub(super) fn signers_changed(&mut self, signers: &SignerSet) {
        for (digest, item) in &mut self.0 {
            item.verify(digest, signers);
        }
    }
}

impl Item {
    fn new(digest: &Digest, signers: &SignerSet) -> Self {
        let vouched = Arc::new(evidence::verify(digest, &[], signers));
        Self {
            by_agent: BTreeMap::new(),
            vouched,
            holders: HashSet::new(),
        }
    }

    fn verify(&mut self, digest: &Digest, signers: &SignerSet) {
        let mut all: Vec<Evidence> = Vec::new();
        for evidence in self.by_agent.values().flatten() {
            if !all.contains(evidence) {
                all.push(evidence.clone());
            }
        }
        self.vouched = Arc::new(evidence::verify(digest, &all, signers));
    }
}

/// 65 536 digests // a mesh runs a few thousand programs; more is an agent gone wrong.
const MAX_DIGESTS: usize = 65_536;

/// 16 signatures of one digest from one agent // releases have one or two.
const MAX_EVIDENCE_PER_AGENT: usize = 16;
