//! What would be served: a tag resolved to its digest, what is vouched for it, and the closure that a blob must be in.

mod derive;
mod fault;
mod work;

use std::sync::Arc;

use artifact::{Closures, Registries, Voucher};
use policy::policy::Policy;
use policy::reason::Reason;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::decide::NeededArtifact;
use crate::denial::Denial;
use crate::question::{Fact, TargetArtifact};

use work::{Learnt, Pull, Work};

/// Asks for artifacts. The work is done elsewhere, so that a caller who leaves stops nobody else's.
#[derive(Clone, Debug)]
pub struct Puller {
    jobs: mpsc::Sender<Job>,
    closures: Arc<Closures>,
}

/// What was found, ready to be asked about.
#[derive(Debug)]
pub struct Pulled {
    /// The artifact, or why there is none.
    pub artifact: Fact<TargetArtifact>,
    /// What belongs to it, to be remembered if it is permitted.
    learnt: Option<Learnt>,
}

impl Puller {
    /// A puller, and the task that does its work.
    pub fn new(
        registries: Registries,
        voucher: Voucher,
        closures: Arc<Closures>,
    ) -> (Self, PullTask) {
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS);
        let work = Arc::new(Work::new(registries, voucher, Arc::clone(&closures)));
        (Self { jobs, closures }, PullTask { queue, work })
    }

    /// Finds the artifact that a decision needs, and waits for it until `deadline` at most.
    pub async fn pull(
        &self,
        needed: &NeededArtifact,
        policy: &Policy,
        deadline: Instant,
    ) -> Pulled {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            pull: Pull::new(needed, policy, deadline),
            reply,
        };
        if self.jobs.try_send(job).is_err() {
            return Pulled::refused(Reason::Overloaded, "too many artifacts are being verified");
        }
        match timeout_at(deadline, answer).await {
            Ok(Ok(pulled)) => pulled,
            Ok(Err(_task_ended)) => {
                Pulled::refused(Reason::Internal, "the verification was interrupted")
            }
            Err(_elapsed) => {
                Pulled::refused(Reason::Deadline, "the artifact was not verified in time")
            }
        }
    }

    /// Remembers what belongs to an artifact that was permitted: its blobs and children may be asked for next.
    pub fn permitted(&self, pulled: Pulled) {
        if let Some(Learnt {
            key,
            manifest,
            members,
        }) = pulled.learnt
        {
            self.closures.remember(&key, &manifest, members);
        }
    }
}

impl Pulled {
    fn refused(reason: Reason, detail: &str) -> Self {
        Self::from(Denial::new(reason, detail))
    }
}

impl From<Denial> for Pulled {
    fn from(denial: Denial) -> Self {
        Self {
            artifact: Fact::Refused(denial),
            learnt: None,
        }
    }
}

/// The task that finds artifacts, on the background runtime.
#[derive(Debug)]
pub struct PullTask {
    queue: mpsc::Receiver<Job>,
    work: Arc<Work>,
}

impl PullTask {
    /// Works until every [`Puller`] is gone: Checks in flight need it while the program drains.
    pub async fn run(mut self) {
        let mut under_way = JoinSet::new();
        loop {
            tokio::select! {
                Some(_done) = under_way.join_next() => {}
                job = self.queue.recv(), if under_way.len() < MAX_UNDER_WAY => match job {
                    Some(job) => drop(under_way.spawn(run(job, Arc::clone(&self.work)))),
                    None => return,
                },
            }
        }
    }
}

async fn run(job: Job, work: Arc<Work>) {
    let Job { pull, reply } = job;
    let pulled = work.pull(&pull).await;
    // Nobody waits any more after the deadline; what was found is in the caches.
    reply.send(pulled).unwrap_or_default();
}

#[derive(Debug)]
struct Job {
    pull: Pull,
    reply: oneshot::Sender<Pulled>,
}

/// 256 jobs waiting // more is an overload, and said so at once.
const QUEUE_JOBS: usize = 256;

/// 64 jobs at a time // each holds some connections to a registry.
const MAX_UNDER_WAY: usize = 64;
