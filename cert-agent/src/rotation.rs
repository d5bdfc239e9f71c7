//! The SVIDs of every workload of this node: one worker each, found here by who asks for them.

mod attestor;
pub mod plan;
mod worker;

use std::{collections::HashMap, sync::Arc};

use daemon::{Lifecycle, clock::Clock};
use evidence::binding::Handout;
use identity::spiffe_id::SpiffeId;
use parking_lot::Mutex;
use policy::reason::Reason;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::attestor::Attestor;
use self::plan::Draw;
use self::worker::{Command, Worker};
use crate::{
    feed::Feed,
    handout::svid::Svid,
    issuer::Issuer,
    judge::Judge,
    metrics::Metrics,
    refusals::Refusals,
    workload::{Refused, Workload},
};

/// Every worker of this node. Cheap to clone.
#[derive(Clone)]
pub struct Rotation(Arc<Inner>);

struct Inner {
    parts: Parts,
    lifecycle: Lifecycle,
    workers: Mutex<HashMap<String, Handle>>,
}

/// What every worker works with.
#[derive(Clone)]
pub struct Parts {
    /// The agent's own identity: who says what the bindings say.
    pub node: SpiffeId,
    /// Who signs.
    pub issuer: Arc<dyn Issuer>,
    /// Who is entitled.
    pub judge: Judge,
    /// Whether a scope still runs its program alone.
    pub attestor: Arc<dyn Attestor>,
    /// Who hears of bindings.
    pub feed: Feed,
    /// Where refusals are kept.
    pub refusals: Refusals,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The numbers.
    pub metrics: Metrics,
}

#[derive(Clone)]
struct Handle {
    workload: Arc<Workload>,
    commands: mpsc::Sender<Command>,
    holding: watch::Receiver<Holding>,
}

/// What a workload holds at one moment.
#[derive(Debug, Clone)]
pub enum Holding {
    /// Nothing was asked for yet.
    Nothing,
    /// These SVIDs, in the order of the grants.
    Svids(Arc<[Arc<Svid>]>),
    /// Nothing any more: every stream ends with this.
    Withdrawn(Refused),
}

impl Holding {
    /// Whether these very SVIDs are held.
    fn is(&self, svids: &[Arc<Svid>]) -> bool {
        match self {
            Self::Svids(held) => {
                held.len() == svids.len()
                    && held
                        .iter()
                        .zip(svids)
                        .all(|(one, other)| Arc::ptr_eq(one, other))
            }
            Self::Nothing | Self::Withdrawn(_) => false,
        }
    }
}

impl Rotation {
    /// Starts without workers.
    pub fn new(parts: Parts, lifecycle: Lifecycle) -> Self {
        Self(Arc::new(Inner {
            parts,
            lifecycle,
            workers: Mutex::default(),
        }))
    }

    /// Checks a workload, judges it, and gives it what it is entitled to. Later changes arrive on the receiver.
    ///
    /// # Errors
    /// Why it gets nothing. The refusal is kept already.
    pub async fn hold(
        &self,
        workload: &Arc<Workload>,
        handout: Handout,
    ) -> Result<watch::Receiver<Holding>, Refused> {
        let handle = self.handle(workload);
        ask(&handle, |reply| Command::Hold { handout, reply }).await??;
        Ok(handle.holding.clone())
    }

    /// Makes new keys and SVIDs for every workload whose name, grant or SPIFFE ID is the subject; for all when it is empty.
    pub async fn rotate(&self, subject: &str) -> Vec<(Arc<Workload>, Holding)> {
        let mut rotated = Vec::new();
        for handle in self
            .handles()
            .into_iter()
            .filter(|handle| handle.is(subject))
        {
            // A refusal is already in `holding`, and kept.
            let _told = ask(&handle, |reply| Command::Rotate { reply }).await;
            rotated.push((
                Arc::clone(&handle.workload),
                handle.holding.borrow().clone(),
            ));
        }
        rotated
    }

    /// Lists what every workload holds.
    pub fn list(&self) -> Vec<(Arc<Workload>, Holding)> {
        let mut list: Vec<_> = self
            .handles()
            .into_iter()
            .map(|handle| {
                (
                    Arc::clone(&handle.workload),
                    handle.holding.borrow().clone(),
                )
            })
            .collect();
        list.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        list
    }

    fn handles(&self) -> Vec<Handle> {
        let mut workers = self.0.workers.lock();
        workers.retain(|_, handle| !handle.commands.is_closed());
        workers.values().cloned().collect()
    }

    fn handle(&self, workload: &Arc<Workload>) -> Handle {
        let mut workers = self.0.workers.lock();
        workers.retain(|_, handle| !handle.commands.is_closed());
        workers
            .entry(workload.id.clone())
            .or_insert_with(|| self.start(workload))
            .clone()
    }

    fn start(&self, workload: &Arc<Workload>) -> Handle {
        let (commands, inbox) = mpsc::channel(INBOX);
        let (holding, held) = watch::channel(Holding::Nothing);
        let worker = Worker::new(Arc::clone(workload), self.0.parts.clone(), holding);
        self.0
            .lifecycle
            .spawn_brief("rotation", worker.run(inbox, self.0.lifecycle.token()));
        Handle {
            workload: Arc::clone(workload),
            commands,
            holding: held,
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Rotation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rotation")
            .field("workers", &self.0.workers.lock().len())
            .finish_non_exhaustive()
    }
}

impl Handle {
    fn is(&self, subject: &str) -> bool {
        subject.is_empty()
            || self.workload.id == subject
            || self.workload.grant == subject
            || self.holds(subject)
    }

    fn holds(&self, subject: &str) -> bool {
        match &*self.holding.borrow() {
            Holding::Svids(svids) => svids
                .iter()
                .any(|svid| svid.leaf().spiffe_id.as_str() == subject),
            Holding::Nothing | Holding::Withdrawn(_) => false,
        }
    }
}

async fn ask<T>(
    handle: &Handle,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Refused> {
    let (reply, answer) = oneshot::channel();
    let gone = || {
        Refused::new(Reason::WorkloadGone, "the workload has ended")
            .of(&handle.workload.id, handle.workload.selectors.clone())
    };
    handle
        .commands
        .send(command(reply))
        .await
        .map_err(|_closed| gone())?;
    answer.await.map_err(|_dropped| gone())
}

/// Draws once. Without randomness the draw is the middle: the spread is lost, not the renewal.
pub(crate) fn draw() -> Draw {
    let mut bytes = [0; 2];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => Draw(u16::from_be_bytes(bytes)),
        Err(_unspecified) => Draw(u16::MAX / 2),
    }
}

/// A worker answers one after the other; more that wait are more than a workload's own threads.
const INBOX: usize = 64;
