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
use super::trust;
use crate::snapshot::{Bound, Intermediate, Snapshot, Trust};

/// What decides, what it is made from, and who said it.
#[derive(Debug)]
pub struct State {
    next: Snapshot,
    known: Known,
    roster: Roster,
    /// The keys that each agent spoke for.
    by_agent: HashMap<SpiffeId, HashSet<SpkiHash>>,
    /// What each agent has said since its last hello, until it has said everything.
    resync: HashMap<SpiffeId, Spoken>,
    refusals: Refusals,
}

/// What one agent spoke of since its hello.
#[derive(Debug, Default)]
struct Spoken {
    keys: HashSet<SpkiHash>,
    digests: HashSet<Digest>,
}

impl State {
    /// The state before any agent has spoken.
    pub fn new(
        policy: Arc<Policy>,
        bundles: TrustBundles,
        agents: impl IntoIterator<Item = SpiffeId>,
    ) -> Self {
        let roster = Roster::new(agents);
        let trust = Trust {
            generation: 1,
            bundles,
            intermediates: std::collections::BTreeMap::new(),
        };
        let next = Snapshot {
            generation: 1,
            policy,
            bindings: imbl::HashMap::new(),
            refusals: imbl::HashMap::new(),
            trust: Arc::new(trust),
            synced: roster.missing(),
        };
        Self {
            next,
            known: Known::default(),
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
        trust::replace_roots(&mut self.next.trust, bundles, now);
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
            self.resync.insert(agent.clone(), Spoken::default());
            trust::learn(&mut self.next.trust, agent.trust_domain(), intermediates);
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
        trust::learn(&mut self.next.trust, agent.trust_domain(), intermediates);
        for item in items {
            match item {
                FeedItem::Binding(binding) => self.bind(agent, binding),
                FeedItem::Withdrawn { spki } => self.withdraw(agent, &spki),
                FeedItem::Refusal(refusal) => self.refusals.add(refusal),
                FeedItem::Evidence { digest, evidence } => {
                    if let Some(spoken) = self.resync.get_mut(agent) {
                        spoken.digests.insert(digest.clone());
                    }
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
            let gone: Vec<SpkiHash> = held
                .filter(|key| !spoken.keys.contains(*key))
                .copied()
                .collect();
            for key in gone {
                self.unbind(&key);
            }
            let touched = self
                .known
                .forget(agent, &spoken.digests, self.next.policy.signers());
            self.rebind(touched);
        }
        self.roster.synced(agent);
    }

    /// Drops what has long expired. Says whether anything changed.
    pub fn sweep(&mut self, now: SystemTime) -> bool {
        let long_gone: Vec<SpkiHash> = self
            .next
            .bindings
            .iter()
            .filter(|(_, bound)| bound.binding.not_after + KEPT_EXPIRED < now)
            .map(|(key, _)| *key)
            .collect();
        for key in &long_gone {
            self.unbind(key);
        }
        let ended = trust::sweep(&mut self.next.trust, now);
        let old = self.refusals.sweep(now);
        ended || old || !long_gone.is_empty()
    }

    fn bind(&mut self, agent: &SpiffeId, binding: Binding) {
        let key = binding.spki;
        match self.next.bindings.get(&key) {
            // INVARIANT: a key belongs to the agent that first spoke of it; keys are never shared between nodes.
            Some(bound) if bound.binding.node != *agent => return,
            Some(_) => self.unbind(&key),
            None if self.held(agent) >= MAX_BINDINGS_PER_AGENT => {
                return self.refusals.add(one_too_many(binding));
            }
            None => {}
        }
        if let Some(spoken) = self.resync.get_mut(agent) {
            spoken.keys.insert(key);
        }
        self.by_agent.entry(agent.clone()).or_default().insert(key);
        for digest in digests(&binding.artifacts) {
            self.known.hold(digest, key, self.next.policy.signers());
        }
        let vouched = self.vouched(&binding.artifacts);
        self.next
            .bindings
            .insert(key, Arc::new(Bound { binding, vouched }));
    }

    fn held(&self, agent: &SpiffeId) -> usize {
        self.by_agent.get(agent).map_or(0, HashSet::len)
    }

    fn withdraw(&mut self, agent: &SpiffeId, key: &SpkiHash) {
        if self
            .next
            .bindings
            .get(key)
            .is_some_and(|bound| bound.binding.node == *agent)
        {
            self.unbind(key);
        }
    }

    fn unbind(&mut self, key: &SpkiHash) {
        if let Some(bound) = self.next.bindings.remove(key) {
            if let Some(held) = self.by_agent.get_mut(&bound.binding.node) {
                held.remove(key);
            }
            for digest in digests(&bound.binding.artifacts) {
                self.known.release(digest, key);
            }
        }
    }

    /// Gives these keys' bindings what is proved now.
    fn rebind(&mut self, keys: Vec<SpkiHash>) {
        for key in keys {
            let Some(bound) = self.next.bindings.get(&key).map(Arc::clone) else {
                continue;
            };
            let vouched = self.vouched(&bound.binding.artifacts);
            let binding = bound.binding.clone();
            self.next
                .bindings
                .insert(key, Arc::new(Bound { binding, vouched }));
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
            "the agent holds {MAX_BINDINGS_PER_AGENT} bindings here, and this is one more"
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
