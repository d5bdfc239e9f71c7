//! The evidence that agents sent, by digest, with what this service itself verified of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use evidence::signer::SignerSet;
use evidence::verify::MAX_PIECES;
use evidence::vouched::Vouched;
use evidence::{Digest, Evidence};
use identity::public_key::SpkiHash;
use identity::spiffe_id::SpiffeId;

use super::told::Told;

/// Everything known of digests. What one agent sends never displaces what another sent.
#[derive(Debug, Default)]
pub(super) struct Known {
    items: HashMap<Digest, Item>,
    shares: HashMap<SpiffeId, Share>,
}

#[derive(Debug)]
struct Item {
    by_agent: BTreeMap<SpiffeId, Said>,
    vouched: Arc<Vouched>,
}

/// What one agent says of one digest.
#[derive(Debug, Default)]
struct Said {
    told: Told,
    /// The keys of its bindings that name the digest.
    keys: HashSet<SpkiHash>,
}

/// How much of all this is one agent's.
#[derive(Debug, Default)]
struct Share {
    digests: HashSet<Digest>,
    bytes: usize,
}

impl Known {
    /// What evidence proves of this digest. `None` without any evidence.
    pub(super) fn vouched(&self, digest: &Digest) -> Option<Arc<Vouched>> {
        let item = self.items.get(digest)?;
        let any = item.by_agent.values().any(|said| !said.told.is_empty());
        any.then(|| Arc::clone(&item.vouched))
    }

    /// Adds to what the agent told of a digest. Returns the keys whose bindings it bears on.
    pub(super) fn learn(
        &mut self,
        agent: &SpiffeId,
        digest: &Digest,
        evidence: Vec<Evidence>,
        signers: &SignerSet,
    ) -> Vec<SpkiHash> {
        if !self.has_room(agent, &BTreeSet::from([digest])) {
            return Vec::new();
        }
        let room = {
            let share = self.shares.entry(agent.clone()).or_default();
            MAX_BYTES_PER_AGENT.saturating_sub(share.bytes)
        };
        self.change(agent, digest, signers, |said| said.told.add(evidence, room))
    }

    /// Whether the agent may speak of these digests too.
    pub(super) fn has_room(&self, agent: &SpiffeId, digests: &BTreeSet<&Digest>) -> bool {
        let held = self.shares.get(agent).map(|share| &share.digests);
        let new = digests
            .iter()
            .filter(|digest| held.is_none_or(|held| !held.contains(**digest)))
            .count();
        held.map_or(0, HashSet::len) + new <= MAX_DIGESTS_PER_AGENT
    }

    /// Notes that a binding of the agent names this digest.
    pub(super) fn hold(
        &mut self,
        agent: &SpiffeId,
        digest: &Digest,
        key: SpkiHash,
        signers: &SignerSet,
    ) {
        self.change(agent, digest, signers, |said| {
            said.keys.insert(key);
        });
    }

    /// Notes that a binding is gone. Evidence that its agent no longer needs goes too. Returns the keys whose bindings that bears on.
    pub(super) fn release(
        &mut self,
        agent: &SpiffeId,
        digest: &Digest,
        key: &SpkiHash,
        signers: &SignerSet,
    ) -> Vec<SpkiHash> {
        self.change(agent, digest, signers, |said| {
            if said.keys.remove(key) && said.keys.is_empty() {
                said.told = Told::default();
            }
        })
    }

    /// The agent begins anew: what it told before counts until [`Known::told`].
    pub(super) fn hello(&mut self, agent: &SpiffeId) {
        for digest in self.digests(agent) {
            if let Some(said) = self.said(agent, &digest) {
                said.told.begin_anew();
            }
        }
    }

    /// The agent has said all it knows: what it did not tell again is gone. Returns the keys whose bindings it bears on.
    pub(super) fn told(&mut self, agent: &SpiffeId, signers: &SignerSet) -> Vec<SpkiHash> {
        let digests = self.digests(agent);
        let forget = |digest| self.change(agent, digest, signers, |said| said.told.end_anew());
        digests.iter().flat_map(forget).collect()
    }

    /// Verifies everything anew: the signers changed.
    pub(super) fn signers_changed(&mut self, signers: &SignerSet) {
        for (digest, item) in &mut self.items {
            item.verify(digest, signers);
        }
    }

    /// Changes what an agent says of a digest. Returns the keys whose bindings it bears on.
    fn change(
        &mut self,
        agent: &SpiffeId,
        digest: &Digest,
        signers: &SignerSet,
        change: impl FnOnce(&mut Said),
    ) -> Vec<SpkiHash> {
        let item = self
            .items
            .entry(digest.clone())
            .or_insert_with(|| Item::new(digest, signers));
        let share = self.shares.entry(agent.clone()).or_default();
        let said = item.by_agent.entry(agent.clone()).or_default();
        let before = said.told.clone();
        change(said);
        share.bytes = (share.bytes + said.told.bytes()).saturating_sub(before.bytes());
        share.digests.insert(digest.clone());
        let same = said.told == before;
        if said.told.is_empty() && said.keys.is_empty() {
            item.by_agent.remove(agent);
            share.digests.remove(digest);
        }
        if item.by_agent.is_empty() {
            self.items.remove(digest);
            return Vec::new();
        }
        if same {
            return Vec::new();
        }
        item.verify(digest, signers);
        item.keys()
    }

    fn digests(&self, agent: &SpiffeId) -> Vec<Digest> {
        let share = self.shares.get(agent);
        share
            .map(|share| share.digests.iter().cloned().collect())
            .unwrap_or_default()
    }

    fn said(&mut self, agent: &SpiffeId, digest: &Digest) -> Option<&mut Said> {
        self.items.get_mut(digest)?.by_agent.get_mut(agent)
    }
}

impl Item {
    fn new(digest: &Digest, signers: &SignerSet) -> Self {
        Self {
            by_agent: BTreeMap::new(),
            vouched: Arc::new(evidence::verify(digest, &[], signers)),
        }
    }

    /// The keys of every binding that names the digest.
    fn keys(&self) -> Vec<SpkiHash> {
        let keys = self.by_agent.values().flat_map(|said| &said.keys);
        keys.copied().collect()
    }

    /// In parts, because only so many pieces are looked at together: many agents must not shut one out.
    fn verify(&mut self, digest: &Digest, signers: &SignerSet) {
        let mut all: Vec<Evidence> = Vec::new();
        for evidence in self.by_agent.values().flat_map(|said| said.told.all()) {
            if !all.contains(evidence) {
                all.push(evidence.clone());
            }
        }
        let mut vouched = evidence::verify(digest, &[], signers);
        for part in all.chunks(MAX_PIECES) {
            let Vouched {
                subject: _,
                signatures,
                rejected,
            } = evidence::verify(digest, part, signers);
            vouched.signatures.extend(signatures);
            vouched.rejected.extend(rejected);
        }
        self.vouched = Arc::new(vouched);
    }
}

/// 16 384 digests of one agent // a node runs some hundred programs; more is an agent gone wrong.
const MAX_DIGESTS_PER_AGENT: usize = 16_384;

/// 64 MiB of evidence from one agent // a keyed signature is about 2 KiB.
const MAX_BYTES_PER_AGENT: usize = 64 * 1024 * 1024;
