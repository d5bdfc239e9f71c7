//! What agents refused lately, bounded, by the identity that was wanted.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evidence::binding::Refusal;
use identity::spiffe_id::SpiffeId;

/// Refusals in the form that snapshots share.
pub(super) type Kept = imbl::HashMap<SpiffeId, Arc<Vec<Refusal>>>;

/// The refusals, and the order in which identities are forgotten. What one agent reports displaces nothing of another's.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    kept: Kept,
    /// By agent, the identities it reported: the one longest unheard of first.
    order: HashMap<SpiffeId, VecDeque<SpiffeId>>,
}

impl Refusals {
    pub(super) fn kept(&self) -> Kept {
        self.kept.clone()
    }

    /// Keeps a refusal, if it wanted an identity and was not heard before.
    pub(super) fn add(&mut self, refusal: Refusal) {
        let Some(wanted) = refusal.wanted.clone() else {
            return;
        };
        let node = refusal.node.clone();
        let mut kept = self.of(&wanted);
        if kept.contains(&refusal) {
            return;
        }
        kept.push(refusal);
        if kept.iter().filter(|kept| kept.node == node).count() > MAX_PER_IDENTITY
            && let Some(oldest) = kept.iter().position(|kept| kept.node == node)
        {
            kept.remove(oldest);
        }
        self.kept.insert(wanted.clone(), Arc::new(kept));
        let order = self.order.entry(node.clone()).or_default();
        order.retain(|identity| *identity != wanted);
        order.push_back(wanted);
        if order.len() > MAX_IDENTITIES
            && let Some(oldest) = order.pop_front()
        {
            self.retain(&oldest, |refusal| refusal.node != node);
        }
    }

    /// Forgets what is no longer recent. Says whether there was any.
    pub(super) fn sweep(&mut self, now: SystemTime) -> bool {
        let old = |refusal: &Refusal| is_old(refusal.at, now);
        let stale: Vec<SpiffeId> = self
            .kept
            .iter()
            .filter(|(_, kept)| kept.iter().any(old))
            .map(|(wanted, _)| wanted.clone())
            .collect();
        for wanted in &stale {
            self.retain(wanted, |refusal| !old(refusal));
        }
        let Self { kept, order } = self;
        order.retain(|node, identities| {
            identities.retain(|wanted| {
                kept.get(wanted)
                    .is_some_and(|kept| kept.iter().any(|refusal| refusal.node == *node))
            });
            !identities.is_empty()
        });
        !stale.is_empty()
    }

    fn of(&self, wanted: &SpiffeId) -> Vec<Refusal> {
        self.kept
            .get(wanted)
            .map(|kept| kept.to_vec())
            .unwrap_or_default()
    }

    fn retain(&mut self, wanted: &SpiffeId, keep: impl Fn(&Refusal) -> bool) {
        let mut kept = self.of(wanted);
        kept.retain(keep);
        if kept.is_empty() {
            self.kept.remove(wanted);
        } else {
            self.kept.insert(wanted.clone(), Arc::new(kept));
        }
    }
}

/// Whether a refusal of then explains anything now.
pub(crate) fn is_old(at: SystemTime, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|age| age > KEPT_FOR)
}

/// 1 h // a workload that is still refused asks again, and is refused anew.
const KEPT_FOR: Duration = Duration::from_hours(1);

/// 8 refusals of one identity from one agent // the newest tell what is wrong now.
const MAX_PER_IDENTITY: usize = 8;

/// 256 identities that one agent refused // as many as it keeps itself; the one longest unheard of goes first.
const MAX_IDENTITIES: usize = 256;
