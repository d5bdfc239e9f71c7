//! What would be served: a tag resolved to its digest, what is vouched for it, and the closure that a blob must be in.

mod derive;
mod fault;
mod lanes;
#[cfg(test)]
mod tests;
mod work;

use std::sync::Arc;

use artifact::{Closures, Registries, Voucher};
use policy::policy::Policy;
use policy::reason::Reason;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::decide::NeededArtifact;
use crate::denial::Denial;
use crate::question::{Fact, TargetArtifact};

use lanes::Lanes;
use work::{Learnt, Pull, Work};

/// Asks for artifacts. The work is done elsewhere, so that a caller who leaves stops nobody else's.
#[derive(Clone, Debug)]
pub struct Puller {
    jobs: mpsc::Sender<Job>,
    closures: Arc<Closures>,
}

/// What was found, ready to be asked about.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The artifact, or why there is none.
    artifact: Fact<TargetArtifact>,
    /// The same artifact as other verified manifests vouch for it. It may be served if any of them meets what a rule demands.
    others: Vec<Fact<TargetArtifact>>,
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
    /// What to ask about, in this order, until a permit. If there is none, the first answer is the answer.
    pub fn artifacts(&self) -> impl Iterator<Item = &Fact<TargetArtifact>> {
        std::iter::once(&self.artifact).chain(&self.others)
    }

    /// Whether it was the asker's time that was over.
    fn is_late(&self) -> bool {
        match &self.artifact {
            Fact::Known(_) => false,
            Fact::Refused(denial) => denial.reason == Reason::Deadline,
        }
    }

    fn one(artifact: TargetArtifact, learnt: Option<Learnt>) -> Self {
        Self {
            artifact: Fact::Known(artifact),
            others: Vec::new(),
            learnt,
        }
    }

    /// Refusals first: while one could not be looked at, a denial says so.
    fn any(facts: impl Iterator<Item = Fact<TargetArtifact>>) -> Self {
        let (known, refused): (Vec<_>, Vec<_>) = facts.partition(|fact| fact.known().is_some());
        let mut all = refused.into_iter().chain(known);
        match all.next() {
            Some(artifact) => Self {
                artifact,
                others: all.collect(),
                learnt: None,
            },
            None => Self::refused(Reason::Internal, "no manifest holds the artifact"),
        }
    }

    fn refused(reason: Reason, detail: &str) -> Self {
        Self::from(Denial::new(reason, detail))
    }
}

impl From<Denial> for Pulled {
    fn from(denial: Denial) -> Self {
        Self {
            artifact: Fact::Refused(denial),
            others: Vec::new(),
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
        let mut lanes = Lanes::new(self.work);
        loop {
            tokio::select! {
                () = lanes.finished(), if !lanes.is_empty() => {}
                job = self.queue.recv() => match job {
                    Some(job) => lanes.take(job),
                    None => return,
                },
            }
        }
    }
}

/// One asker, and what it waits for.
#[derive(Debug)]
struct Job {
    pull: Pull,
    reply: oneshot::Sender<Pulled>,
}

/// 256 jobs not taken up yet // the task takes them up at once; more is an overload, and said so.
const QUEUE_JOBS: usize = 256;
