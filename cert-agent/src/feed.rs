//! What every replica is told, and when it has it.

mod ledger;
mod own;
mod replica;
mod session;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use evidence::binding::FeedItem;
use parking_lot::Mutex;
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, timeout_at},
};
use tracing::warn;

use self::ledger::Ledger;
pub use self::{
    own::{OwnIdentity, OwnSvid},
    replica::{ReplicaFeed, Sources},
};
use crate::metrics::Metrics;

/// The feed, as the rest of the agent sees it. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    ledger: Mutex<Ledger>,
    changes: broadcast::Sender<Change>,
    replicas: Mutex<Vec<watch::Receiver<Progress>>>,
    own_end: watch::Sender<Option<SystemTime>>,
    metrics: Metrics,
}

/// One change of the ledger, numbered.
#[derive(Debug, Clone)]
struct Change {
    number: u64,
    items: Arc<[FeedItem]>,
}

/// How far a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Not connected, or not synced yet: nobody waits for it.
    Apart,
    /// It decides by everything up to this change.
    At(u64),
}

impl Feed {
    /// Starts with nothing to tell, and nobody to tell it to.
    pub fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            ledger: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_KEPT),
            replicas: Mutex::default(),
            own_end: watch::Sender::new(None),
            metrics,
        }))
    }

    /// Tells every replica, and returns the number of the change.
    pub fn tell(&self, items: Vec<FeedItem>) -> u64 {
        let mut ledger = self.0.ledger.lock();
        let (number, items) = ledger.apply(items);
        // Sent under the lock, so that changes leave in their order. No replica listening is fine: it will be sent the state.
        if !items.is_empty() {
            let _listeners = self.0.changes.send(Change {
                number,
                items: items.into(),
            });
        }
        number
    }

    /// Waits until every synced replica decides by a change, but not for long: a replica that hangs must not hold up the mesh.
    pub async fn swapped_in(&self, number: u64) {
        let deadline = Instant::now() + SWAP_DEADLINE;
        let replicas = self.0.replicas.lock().clone();
        for mut progress in replicas {
            let reached = progress.wait_for(|progress| match progress {
                Progress::Apart => true,
                Progress::At(reached) => *reached >= number,
            });
            if timeout_at(deadline, reached).await.is_err() {
                warn!(
                    change = number,
                    "a replica did not take a binding in time; the SVID is handed over without it"
                );
                self.0.metrics.feed_late.increment();
            }
        }
    }

    /// A binding never ends after the chain of the agent that says it.
    pub fn not_past_our_own(&self, end: SystemTime) -> SystemTime {
        self.0.own_end.borrow().map_or(end, |own| own.min(end))
    }

    /// Forgets bindings that have ended. Replicas see that by themselves.
    pub fn forget_ended(&self, now: SystemTime) {
        self.0.ledger.lock().forget_ended(now);
    }

    fn own_ends(&self, end: SystemTime) {
        self.0.own_end.send_replace(Some(end));
    }

    fn add_replica(&self) -> watch::Sender<Progress> {
        let progress = watch::Sender::new(Progress::Apart);
        self.0.replicas.lock().push(progress.subscribe());
        progress
    }

    /// The whole state, and every change after it: taken together, so that nothing falls between.
    fn state(&self) -> (u64, Vec<FeedItem>, broadcast::Receiver<Change>) {
        let ledger = self.0.ledger.lock();
        (ledger.number(), ledger.state(), self.0.changes.subscribe())
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("change", &self.0.ledger.lock().number())
            .finish_non_exhaustive()
    }
}

/// How long an SVID waits for its binding to be known (design.md §6.2).
const SWAP_DEADLINE: Duration = Duration::from_millis(500);
/// A replica further behind than this is sent the whole state again.
const CHANGES_KEPT: usize = 1024;

#[cfg(test)]
mod tests;
