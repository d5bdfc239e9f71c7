//! All that the owner knows, and how each command changes it. No task, no clock, no channel.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evidence::Digest;
use evidence::binding::{Binding, BoundArtifact, FeedItem, Refusal};
use identity::public_key::SpkiHash;
use identity::spiffe_id::SpiffeId;
use identity::trust_bundle::TrustBundles;
use identity::x509_svid;
use policy::policy::Policy;

use super::known::Known;
use super::roster::{AgentState, Heard, Roster, Session};
use crate::snapshot::{Bound, Intermediate, Snapshot, Trust};

/// What decides, what it is made from, and who said it.
#[derive(Debug)]
pub struct State {
    next: Snapshot,
    known: Known,
    roster: Roster,
    /// What each agent has said since its last hello, until it has said everything.
    resync: HashMap<SpiffeId, Spoken>,
    /// Identities with refusals, the longest unheard of first.
    refused: VecDeque<SpiffeId>,
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
            resync: HashMap::new(),
            refused: VecDeque::new(),
        }
    }

    /// The view as it is.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.next.clone())
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
        if self.next.trust.bundles == bundles {
            return;
        }
        self.change_trust(|trust| {
            for (trust_domain, intermediates) in &mut trust.intermediates {
                let bundle = bundles.get(trust_domain);
                intermediates.retain(|intermediate| {
                    bundle.is_some_and(|bundle| {
                        x509_svid::verify_authority(&intermediate.der, bundle, now).is_ok()
                    })
                });
            }
            trust.bundles = bundles;
        });
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
            self.learn_intermediates(agent, intermediates);
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
        self.learn_intermediates(agent, intermediates);
        for item in items {
            match item {
                FeedItem::Binding(binding) => self.bind(agent, binding),
                FeedItem::Withdrawn { spki } => self.withdraw(agent, &spki),
                FeedItem::Refusal(refusal) => self.refuse(refusal),
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
            let gone: Vec<SpkiHash> = self
                .next
                .bindings
                .iter()
                .filter(|(key, bound)| bound.binding.node == *agent && !spoken.keys.contains(*key))
                .map(|(key, _)| *key)
                .collect();
            for key in gone {
                self.withdraw(agent, &key);
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
        let expired = |intermediate: &Intermediate| intermediate.not_after < now;
        let any_expired = self
            .next
            .trust
            .intermediates
            .values()
            .flatten()
            .any(expired);
        if any_expired {
            self.change_trust(|trust| {
                for intermediates in trust.intermediates.values_mut() {
                    intermediates.retain(|intermediate| !expired(intermediate));
                }
            });
        }
        let old = self.sweep_refusals(now);
        any_expired || old || !long_gone.is_empty()
    }

    fn bind(&mut self, agent: &SpiffeId, binding: Binding) {
        let key = binding.spki;
        if self
            .next
            .bindings
            .get(&key)
            .is_some_and(|bound| bound.binding.node != *agent)
        {
            // INVARIANT: a key belongs to the agent that first spoke of it; keys are never shared between nodes.
            return;
        }
        if let Some(spoken) = self.resync.get_mut(agent) {
            spoken.keys.insert(key);
        }
        self.unbind(&key);
        for digest in digests(&binding.artifacts) {
            self.known.hold(digest, key, self.next.policy.signers());
        }
        let vouched = self.vouched(&binding.artifacts);
        self.next
            .bindings
            .insert(key, Arc::new(Bound { binding, vouched }));
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

    fn refuse(&mut self, refusal: Refusal) {
        let Some(wanted) = refusal.wanted.clone() else {
            return;
        };
        let mut kept = self
            .next
            .refusals
            .get(&wanted)
            .map(|kept| kept.to_vec())
            .unwrap_or_default();
        if kept.contains(&refusal) {
            return;
        }
        kept.push(refusal);
        let excess = kept.len().saturating_sub(MAX_REFUSALS_PER_IDENTITY);
        kept.drain(..excess);
        self.refused.retain(|identity| *identity != wanted);
        self.refused.push_back(wanted.clone());
        self.next.refusals.insert(wanted, Arc::new(kept));
        if self.refused.len() > MAX_REFUSED_IDENTITIES
            && let Some(oldest) = self.refused.pop_front()
        {
            self.next.refusals.remove(&oldest);
        }
    }

    fn sweep_refusals(&mut self, now: SystemTime) -> bool {
        let recent = |refusal: &Refusal| refusal.at + KEPT_REFUSAL >= now;
        let before = self.refused.len();
        let refusals = &mut self.next.refusals;
        self.refused.retain(|identity| {
            let keep = refusals
                .get(identity)
                .is_some_and(|kept| kept.iter().any(recent));
            if !keep {
                refusals.remove(identity);
            }
            keep
        });
        self.refused.len() != before
    }

    fn learn_intermediates(&mut self, agent: &SpiffeId, learnt: Vec<Intermediate>) {
        let trust_domain = agent.trust_domain();
        let known = self.next.trust.intermediates.get(trust_domain);
        let is_new = |new: &Intermediate| {
            !known.is_some_and(|known| known.iter().any(|old| old.der == new.der))
        };
        let new: Vec<_> = learnt.into_iter().filter(is_new).collect();
        if new.is_empty() {
            return;
        }
        self.change_trust(|trust| {
            let kept = trust.intermediates.entry(trust_domain.clone()).or_default();
            kept.extend(new);
            // The ones that end last are worth the most.
            kept.sort_by_key(|intermediate| std::cmp::Reverse(intermediate.not_after));
            kept.truncate(MAX_INTERMEDIATES);
        });
    }

    fn change_trust(&mut self, change: impl FnOnce(&mut Trust)) {
        let mut trust = Trust::clone(&self.next.trust);
        change(&mut trust);
        trust.generation += 1;
        self.next.trust = Arc::new(trust);
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

/// 24 h // a refusal explains the denials of its day.
const KEPT_REFUSAL: Duration = Duration::from_hours(24);

/// 8 refusals of one identity // the newest tell what is wrong now.
const MAX_REFUSALS_PER_IDENTITY: usize = 8;

/// 1 024 identities with refusals // the one longest unheard of goes first.
const MAX_REFUSED_IDENTITIES: usize = 1024;

/// 8 intermediates of one trust domain // as many as a chain may bring; two are in use while one is renewed.
const MAX_INTERMEDIATES: usize = 8;
