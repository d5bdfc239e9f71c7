//! How trust changes: roots replaced, intermediates learnt and dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use identity::spiffe_id::{SpiffeId, TrustDomain};
use identity::trust_bundle::TrustBundles;
use identity::x509_svid;

use crate::snapshot::{Intermediate, Trust};

/// The trust that is published, and which agent brought which part of it.
#[derive(Debug)]
pub(super) struct Trusted {
    published: Arc<Trust>,
    brought: BTreeMap<SpiffeId, Brought>,
}

/// The intermediates of one agent. However many agents there are, one displaces none of another.
#[derive(Debug, Default)]
struct Brought {
    /// Since its last hello.
    now: Vec<Intermediate>,
    /// Before that, until it has said all it knows: certificates beneath them may still be in use.
    before: Vec<Intermediate>,
}

impl Trusted {
    /// The operator's roots alone.
    pub(super) fn new(bundles: TrustBundles) -> Self {
        let published = Arc::new(Trust {
            generation: 1,
            bundles,
            intermediates: BTreeMap::new(),
        });
        Self {
            published,
            brought: BTreeMap::new(),
        }
    }

    pub(super) fn published(&self) -> Arc<Trust> {
        Arc::clone(&self.published)
    }

    /// Puts the operator's roots in force. Intermediates that they do not sign are dropped.
    pub(super) fn replace_roots(&mut self, bundles: TrustBundles, now: SystemTime) {
        if self.published.bundles == bundles {
            return;
        }
        for (agent, brought) in &mut self.brought {
            let bundle = bundles.get(agent.trust_domain());
            brought.retain(|intermediate| {
                bundle.is_some_and(|bundle| {
                    x509_svid::verify_authority(&intermediate.der, bundle, now).is_ok()
                })
            });
        }
        let intermediates = self.intermediates();
        self.publish(bundles, intermediates);
    }

    /// The agent begins anew: what it brought before counts until [`Trusted::told`].
    pub(super) fn hello(&mut self, agent: &SpiffeId, intermediates: Vec<Intermediate>) {
        let brought = self.brought.entry(agent.clone()).or_default();
        let now = std::mem::take(&mut brought.now);
        add(&mut brought.before, now);
        add(&mut brought.now, intermediates);
        self.refresh();
    }

    /// Adds what the agent has not brought yet.
    pub(super) fn learn(&mut self, agent: &SpiffeId, intermediates: Vec<Intermediate>) {
        let brought = self.brought.entry(agent.clone()).or_default();
        if add(&mut brought.now, intermediates) == Changed::Yes {
            self.refresh();
        }
    }

    /// The agent has said all it knows: what it did not bring again is gone.
    pub(super) fn told(&mut self, agent: &SpiffeId) {
        if let Some(brought) = self.brought.get_mut(agent) {
            brought.before.clear();
            self.refresh();
        }
    }

    /// Drops intermediates that have ended. Says whether there were any.
    pub(super) fn sweep(&mut self, now: SystemTime) -> bool {
        for brought in self.brought.values_mut() {
            brought.retain(|intermediate| intermediate.not_after >= now);
        }
        self.refresh() == Changed::Yes
    }

    /// Publishes what the agents brought, if that is not what is published.
    fn refresh(&mut self) -> Changed {
        let intermediates = self.intermediates();
        if intermediates == self.published.intermediates {
            return Changed::No;
        }
        self.publish(self.published.bundles.clone(), intermediates);
        Changed::Yes
    }

    /// INVARIANT: whatever changes, the generation grows, so that no cached verdict on a certificate outlives it.
    fn publish(
        &mut self,
        bundles: TrustBundles,
        intermediates: BTreeMap<TrustDomain, Vec<Intermediate>>,
    ) {
        self.published = Arc::new(Trust {
            generation: self.published.generation + 1,
            bundles,
            intermediates,
        });
    }

    /// Each once, in an order that depends on nothing but what was brought.
    fn intermediates(&self) -> BTreeMap<TrustDomain, Vec<Intermediate>> {
        let mut all: BTreeMap<TrustDomain, BTreeMap<&[u8], &Intermediate>> = BTreeMap::new();
        for (agent, brought) in &self.brought {
            for intermediate in brought.now.iter().chain(&brought.before) {
                all.entry(agent.trust_domain().clone())
                    .or_default()
                    .insert(&intermediate.der, intermediate);
            }
        }
        all.into_iter()
            .map(|(trust_domain, each)| (trust_domain, each.into_values().cloned().collect()))
            .collect()
    }
}

impl Brought {
    fn retain(&mut self, keep: impl Fn(&Intermediate) -> bool) {
        self.now.retain(&keep);
        self.before.retain(&keep);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

fn add(kept: &mut Vec<Intermediate>, new: Vec<Intermediate>) -> Changed {
    let before = kept.clone();
    for intermediate in new {
        if !kept.contains(&intermediate) {
            kept.push(intermediate);
        }
    }
    // The ones that end last are worth the most.
    kept.sort_by_key(|intermediate| std::cmp::Reverse(intermediate.not_after));
    kept.truncate(MAX_INTERMEDIATES);
    if *kept == before {
        Changed::No
    } else {
        Changed::Yes
    }
}

/// 8 intermediates of one agent // as many as a chain may bring; two are in use while one is renewed.
const MAX_INTERMEDIATES: usize = 8;
