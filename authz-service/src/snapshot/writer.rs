//! The one owner of the snapshot: commands in, one published view out.

mod known;
mod refusals;
mod roster;
mod state;
mod told;
mod trust;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use daemon::clock::Clock;
use daemon::readiness::{Missing, Readiness};
use evidence::binding::FeedItem;
use identity::spiffe_id::SpiffeId;
use identity::trust_bundle::TrustBundles;
use policy::policy::Policy;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Intermediate, Snapshot};
use crate::record::Metrics;

pub(crate) use refusals::is_old;
pub use roster::{AgentState, Session};
pub use state::State;

/// The reading end: what decides now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshots {
    current: Arc<ArcSwap<Snapshot>>,
    roster: Arc<ArcSwap<Vec<AgentState>>>,
}

impl Snapshots {
    /// The view that decides now. Callers keep it for one asking and no longer.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// What is known of each agent of the roster.
    pub fn roster(&self) -> Arc<Vec<AgentState>> {
        self.roster.load_full()
    }
}

/// A change of what decides.
#[derive(Debug)]
pub enum Command {
    /// A policy that compiled.
    Policy(Arc<Policy>),
    /// The operator's roots, read anew.
    Bundles(TrustBundles),
    /// An agent opened a stream: its full state follows.
    Hello {
        /// Which agent.
        agent: SpiffeId,
        /// Which of its streams; an older one of the same agent is no longer heard.
        session: Session,
        /// The hash of the agent's policy directory.
        policy_hash: String,
        /// Issuing certificates, checked against the operator's roots.
        intermediates: Vec<Intermediate>,
    },
    /// An agent said something.
    Batch {
        /// Which agent.
        agent: SpiffeId,
        /// Which of its streams.
        session: Session,
        /// What it said, checked for what the agent may say.
        items: Vec<FeedItem>,
        /// Issuing certificates that came with it.
        intermediates: Vec<Intermediate>,
        /// Told once the view that holds it decides. Dropped if the stream is no longer heard.
        swapped: oneshot::Sender<Swapped>,
    },
    /// The agent has said all it knows.
    EndOfState {
        /// Which agent.
        agent: SpiffeId,
        /// Which of its streams.
        session: Session,
    },
}

/// A view that holds a batch decides from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// Its generation.
    pub generation: u64,
    /// The hash of its policy.
    pub policy_hash: String,
}

/// The writing end: a bounded queue to the owner.
#[derive(Clone, Debug)]
pub struct Commands(mpsc::Sender<Command>);

/// The owner is gone, which only happens while the process stops.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot's owner has stopped")]
pub struct Stopped;

impl Commands {
    /// Hands a change to the owner, waiting while its queue is full.
    ///
    /// # Errors
    /// The process is stopping.
    pub async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.0.send(command).await.map_err(|_closed| Stopped)
    }
}

/// The owner. [`Writer::run`] is its task.
#[derive(Debug)]
pub struct Writer {
    state: State,
    clock: Arc<dyn Clock>,
    commands: mpsc::Receiver<Command>,
    published: Snapshots,
    waiting: Vec<oneshot::Sender<Swapped>>,
    /// When the changes gathered so far are published.
    due: Option<Instant>,
    metrics: Metrics,
    /// Readiness waits for each agent until it has said all it knows.
    unsynced: BTreeMap<SpiffeId, Missing>,
}

impl Writer {
    /// An owner of this state, which is published at once. Readiness waits for every agent of its roster.
    pub fn new(
        state: State,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        readiness: &Readiness,
    ) -> (Self, Commands, Snapshots) {
        let (sender, commands) = mpsc::channel(QUEUE_COMMANDS);
        let published = Snapshots {
            current: Arc::new(ArcSwap::new(state.snapshot())),
            roster: Arc::new(ArcSwap::from_pointee(state.roster())),
        };
        let handle = published.clone();
        let unsynced = state
            .roster()
            .into_iter()
            .map(|agent| {
                let missing = readiness.wait_for(format!("agent {}", agent.identity));
                (agent.identity, missing)
            })
            .collect();
        let writer = Self {
            state,
            clock,
            commands,
            published,
            waiting: Vec::new(),
            due: None,
            metrics,
            unsynced,
        };
        (writer, Commands(sender), handle)
    }

    /// Owns the state until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.due;
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = until(due) => self.publish(),
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => return,
                },
                _ = sweep.tick() => self.on_sweep(),
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Policy(policy) => self.state.policy(policy),
            Command::Bundles(bundles) => self.state.bundles(bundles, now),
            Command::Hello {
                agent,
                session,
                policy_hash,
                intermediates,
            } => {
                self.state
                    .hello(&agent, session, policy_hash, intermediates);
            }
            Command::Batch {
                agent,
                session,
                items,
                intermediates,
                swapped,
            } => {
                if !self.state.batch(&agent, session, items, intermediates) {
                    return;
                }
                self.waiting.push(swapped);
            }
            Command::EndOfState { agent, session } => self.state.end_of_state(&agent, session),
        }
        self.due.get_or_insert_with(|| Instant::now() + COALESCE);
    }

    fn on_sweep(&mut self) {
        if self.state.sweep(self.clock.now()) {
            self.due.get_or_insert_with(|| Instant::now() + COALESCE);
        }
    }

    fn publish(&mut self) {
        self.due = None;
        let snapshot = self.state.publish();
        let swapped = Swapped {
            generation: snapshot.generation,
            policy_hash: snapshot.policy.hash().to_owned(),
        };
        self.metrics
            .published(snapshot.generation, snapshot.bindings.len());
        self.published.current.store(snapshot);
        let roster = self.state.roster();
        for agent in roster.iter().filter(|agent| agent.synced) {
            if let Some(missing) = self.unsynced.remove(&agent.identity) {
                missing.done();
            }
        }
        self.published.roster.store(Arc::new(roster));
        for waiting in self.waiting.drain(..) {
            // A stream that ended meanwhile no longer waits.
            waiting.send(swapped.clone()).unwrap_or_default();
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// 5 ms // a burst of batches becomes one publication; an SVID waits up to 500 ms for it.
const COALESCE: Duration = Duration::from_millis(5);

/// 30 s // how often what has long expired is dropped.
const SWEEP: Duration = Duration::from_secs(30);

/// 256 commands // agents wait when the owner is behind.
const QUEUE_COMMANDS: usize = 256;

#[cfg(test)]
mod tests;
