//! What agents refused lately, bounded, by the identity that was wanted.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evidence::binding::Refusal;
use identity::spiffe_id::SpiffeId;

/// Refusals in the form that snapshots share.
pub(super) type Kept = imbl::HashMap<SpiffeId, Arc<Vec<Refusal>>>;

/// The refusals, and the order in which identities are forgotten.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    kept: Kept,
    /// The identity longest unheard of first.
    order: VecDeque<SpiffeId>,
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
        let mut kept = self
            .kept
            .get(&wanted)
            .map(|kept| kept.to_vec())
            .unwrap_or_default();
        if kept.contains(&refusal) {
            return;
        }
        kept.push(refusal);
        let excess = kept.len().saturating_sub(MAX_PER_IDENTITY);
        kept.drain(..excess);
        self.order.retain(|identity| *identity != wanted);
        self.order.push_back(wanted.clone());
        self.kept.insert(wanted, Arc::new(kept));
        if self.order.len() > MAX_IDENTITIES
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
    }

    /// Forgets identities without a recent refusal. Says whether there were any.
    pub(super) fn sweep(&mut self, now: SystemTime) -> bool {
        let recent = |refusal: &Refusal| refusal.at + KEPT_FOR >= now;
        let before = self.order.len();
        let Self { kept, order } = self;
        order.retain(|identity| {
            let keep = kept
                .get(identity)
                .is_some_and(|kept| kept.iter().any(recent));
            if !keep {
                kept.remove(identity);
            }
            keep
        });
        order.len() != before
    }
}

/// 24 h // a refusal explains the denials of its day.
const KEPT_FOR: Duration = Duration::from_hours(24);

/// 8 refusals of one identity // the newest tell what is wrong now.
const MAX_PER_IDENTITY: usize = 8;

/// 1 024 identities with refusals // the one longest unheard of goes first.
const MAX_IDENTITIES: usize = 1024;
