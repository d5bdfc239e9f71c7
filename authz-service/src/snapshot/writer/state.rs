//! All that the owner knows, and how each command changes it. No task, no clock, no channel.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evidence::Digest;
use evidence::binding::{Binding, BoundArtifact, FeedItem, Refusal};
use identity::public_key::SpkiHash;
use identity::spiffe_id::SpiffeId;
use identity::trust_bundle::TrustBundles;
use policy::policy::Policy;
use policy::reason::Reason;

use super::known::Known;
use super::refusals::Refusals;
use super::roster::{AgentState, Heard, Roster, Session};
use super::trust::Trusted;
use crate::snapshot::{Bound, Intermediate, Snapshot};

/// What decides, what it is made from, and who said it.
#[derive(Debug)]
pub struct State {
    next: Snapshot,
    known: Known,
    trusted: Trusted,
    roster: Roster,
    /// The keys that each agent spoke for.
    by_agent: HashMap<SpiffeId, HashSet<SpkiHash>>,
    /// The keys that each agent spoke for since its last hello, until it has said everything.
    resync: HashMap<SpiffeId, HashSet<SpkiHash>>,
    refusals: Refusals,
}

impl State {
    /// The state before any agent has spoken.
    pub fn new(
        policy: Arc<Policy>,
        bundles: TrustBundles,
        agents: impl IntoIterator<Item = SpiffeId>,
    ) -> Self {
        let roster = Roster::new(agents);
        let trusted = Trusted::new(bundles);
        let next = Snapshot {
            generation: 1,
            policy,
            bindings: imbl::HashMap::new(),
            refusals: imbl::HashMap::new(),
            trust: trusted.published(),
            synced: roster.missing(),
        };
        Self {
            next,
            known: Known::default(),
            trusted,
            roster,
            by_agent: HashMap::new(),
            resync: HashMap::new(),
            refusals: Refusals::default(),
        }
    }

    /// The view as it is.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        let refusals = self.refusals.kept();
        Arc::new(Snapshot {
            refusals,
            trust: self.trusted.published(),
            ..self.next.clone()
        })
    }

    /// The next view, one generation on.
    pub fn publish(&mut self) -> Arc<Snapshot> {
        self.next.generation += 1;
        self.next.synced = self.roster.missing();
        self.snapshot()
    }

    /// What is known of each agent.
    pub fn roster(&self) -> Vec<AgentState> {
        self.roster.states()
    }

    /// Puts a policy in force. New signers mean that everything known is verified anew.
    pub fn policy(&mut self, policy: Arc<Policy>) {
        let same_signers = policy.signers().hash() == self.next.policy.signers().hash();
        self.next.policy = policy;
        if !same_signers {
            self.known.signers_changed(self.next.policy.signers());
            let keys: Vec<_> = self.next.bindings.keys().copied().collect();
            self.rebind(keys);
        }
    }

    /// Puts the operator's roots in force. Intermediates that they do not sign are dropped.
    pub fn bundles(&mut self, bundles: TrustBundles, now: SystemTime) {
        self.trusted.replace_roots(bundles, now);
    }

    /// Begins to hear a stream.
    pub fn hello(
        &mut self,
        agent: &SpiffeId,
        session: Session,
        policy_hash: String,
        intermediates: Vec<Intermediate>,
    ) {
        if self.roster.hello(agent, session, policy_hash) == Heard::Yes {
            self.resync.insert(agent.clone(), HashSet::new());
            self.known.hello(agent);
            self.trusted.hello(agent, intermediates);
        }
    }

    /// Takes what an agent said. `false` if its stream is not the one that is heard.
    pub fn batch(
        &mut self,
        agent: &SpiffeId,
        session: Session,
        items: Vec<FeedItem>,
        intermediates: Vec<Intermediate>,
    ) -> bool {
        if self.roster.hears(agent, session) == Heard::No {
            return false;
        }
        self.trusted.learn(agent, intermediates);
        for item in items {
            match item {
                FeedItem::Binding(binding) => self.bind(agent, binding),
                FeedItem::Withdrawn { spki } => self.unbind(agent, &spki),
                FeedItem::Refusal(refusal) => self.refusals.add(refusal),
                FeedItem::Evidence { digest, evidence } => {
                    let touched =
                        self.known
                            .learn(agent, &digest, evidence, self.next.policy.signers());
                    self.rebind(touched);
                }
            }
        }
        true
    }

    /// The agent has said all it knows: what it did not speak of is gone.
    pub fn end_of_state(&mut self, agent: &SpiffeId, session: Session) {
        if self.roster.hears(agent, session) == Heard::No {
            return;
        }
        if let Some(spoken) = self.resync.remove(agent) {
            let held = self.by_agent.get(agent).into_iter().flatten();
            let gone: Vec<SpkiHash> = held.filter(|key| !spoken.contains(key)).copied().collect();
            for key in gone {
                self.unbind(agent, &key);
            }
            let touched = self.known.told(agent, self.next.policy.signers());
            self.rebind(touched);
            self.trusted.told(agent);
        }
        self.roster.synced(agent);
    }

    /// Drops what has long expired. Says whether anything changed.
    pub fn sweep(&mut self, now: SystemTime) -> bool {
        let long_gone: Vec<(SpiffeId, SpkiHash)> = self
            .next
            .bindings
            .values()
            .flat_map(|bounds| bounds.iter())
            .map(|bound| &bound.binding)
            .filter(|binding| binding.not_after + KEPT_EXPIRED < now)
            .map(|binding| (binding.node.clone(), binding.spki))
            .collect();
        for (agent, key) in &long_gone {
            self.unbind(agent, key);
        }
        let ended = self.trusted.sweep(now);
        let old = self.refusals.sweep(now);
        ended || old || !long_gone.is_empty()
    }

    /// INVARIANT: an agent speaks for itself alone. What it says of a key stands beside what others say of it and displaces none of that.
    fn bind(&mut self, agent: &SpiffeId, binding: Binding) {
        let key = binding.spki;
        let wanted = digests(&binding.artifacts);
        let old = self.bound(agent, &key).map(|bound| bound.binding.clone());
        let full = old.is_none() && self.held(agent) >= MAX_BINDINGS_PER_AGENT;
        if full || !self.known.has_room(agent, &wanted) {
            return self.refusals.add(one_too_many(binding));
        }
        if let Some(spoken) = self.resync.get_mut(agent) {
            spoken.insert(key);
        }
        self.by_agent.entry(agent.clone()).or_default().insert(key);
        let signers = self.next.policy.signers();
        for digest in &wanted {
            self.known.hold(agent, digest, key, signers);
        }
        let vouched = self.vouched(&binding.artifacts);
        let released = old.map(|old| old.artifacts).unwrap_or_default();
        let released = digests(&released)
            .difference(&wanted)
            .copied()
            .cloned()
            .collect();
        self.put(agent, key, Some(Bound { binding, vouched }));
        self.release(agent, &key, released);
    }

    fn held(&self, agent: &SpiffeId) -> usize {
        self.by_agent.get(agent).map_or(0, HashSet::len)
    }

    /// What this agent says of the key.
    fn bound(&self, agent: &SpiffeId, key: &SpkiHash) -> Option<&Bound> {
        let mut bounds = self.next.bindings.get(key)?.iter();
        bounds.find(|bound| bound.binding.node == *agent)
    }

    fn unbind(&mut self, agent: &SpiffeId, key: &SpkiHash) {
        let Some(bound) = self.bound(agent, key) else {
            return;
        };
        let released = digests(&bound.binding.artifacts)
            .into_iter()
            .cloned()
            .collect();
        if let Some(held) = self.by_agent.get_mut(agent) {
            held.remove(key);
        }
        self.put(agent, *key, None);
        self.release(agent, key, released);
    }

    /// Puts what this agent says of the key in place of what it said before.
    fn put(&mut self, agent: &SpiffeId, key: SpkiHash, new: Option<Bound>) {
        let mut bounds = self
            .next
            .bindings
            .get(&key)
            .map(|bounds| bounds.to_vec())
            .unwrap_or_default();
        let place = bounds.iter().position(|bound| bound.binding.node == *agent);
        if let Some(place) = place {
            bounds.remove(place);
        }
        if let Some(new) = new {
            bounds.insert(place.unwrap_or(bounds.len()), new);
        }
        if bounds.is_empty() {
            self.next.bindings.remove(&key);
        } else {
            self.next.bindings.insert(key, bounds.into());
        }
    }

    fn release(&mut self, agent: &SpiffeId, key: &SpkiHash, digests: Vec<Digest>) {
        for digest in digests {
            let signers = self.next.policy.signers();
            let touched = self.known.release(agent, &digest, key, signers);
            self.rebind(touched);
        }
    }

    /// Gives these keys' bindings what is proved now.
    fn rebind(&mut self, keys: Vec<SpkiHash>) {
        for key in keys {
            let Some(bounds) = self.next.bindings.get(&key).map(Arc::clone) else {
                continue;
            };
            let anew = |bound: &Bound| Bound {
                binding: bound.binding.clone(),
                vouched: self.vouched(&bound.binding.artifacts),
            };
            let bounds = bounds.iter().map(anew).collect();
            self.next.bindings.insert(key, bounds);
        }
    }

    fn vouched(&self, artifacts: &[BoundArtifact]) -> Vec<Arc<evidence::Vouched>> {
        digests(artifacts)
            .into_iter()
            .filter_map(|digest| self.known.vouched(digest))
            .collect()
    }
}

/// Refused by us, and explained as an agent's own refusals are.
fn one_too_many(binding: Binding) -> Refusal {
    Refusal {
        wanted: Some(binding.spiffe_id),
        node: binding.node,
        workload: binding.workload,
        grant: Some(binding.grant),
        digests: Vec::new(),
        reason: Reason::Overloaded.code().to_owned(),
        detail: format!(
            "the agent holds {MAX_BINDINGS_PER_AGENT} bindings or all the digests it may name here, and this is one more"
        ),
        at: binding.not_before,
    }
}

fn digests(artifacts: &[BoundArtifact]) -> BTreeSet<&Digest> {
    artifacts
        .iter()
        .flat_map(|artifact| &artifact.digests)
        .collect()
}

/// 10 min // an expired binding is kept so that the denial says `binding-expired`, not `binding-missing`.
const KEPT_EXPIRED: Duration = Duration::from_mins(10);

/// 65 536 bindings of one agent // a node runs some hundred workloads; more is an agent gone wrong.
const MAX_BINDINGS_PER_AGENT: usize = 65_536;
