//! Which jobs run, which wait and which are shed: a lane for each registry, so that a slow one holds up no other.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use policy::reason::Reason;
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};

use super::work::{Pull, Work};
use super::{Job, Pulled};

/// Every lane, and the jobs that run.
#[derive(Debug)]
pub(super) struct Lanes {
    work: Arc<Work>,
    by_host: HashMap<String, Lane>,
    tasks: JoinSet<Pulled>,
    hosts: HashMap<Id, String>,
}

/// The jobs of one registry.
#[derive(Debug, Default)]
struct Lane {
    running: HashMap<Id, Asked>,
    waiting: VecDeque<Asked>,
}

/// One thing to find, and everyone who waits for it.
#[derive(Debug)]
struct Asked {
    pull: Arc<Pull>,
    waiters: Vec<Waiter>,
}

/// Someone who waits, and until when.
#[derive(Debug)]
struct Waiter {
    deadline: Instant,
    reply: oneshot::Sender<Pulled>,
}

impl Lanes {
    pub(super) fn new(work: Arc<Work>) -> Self {
        Self {
            work,
            by_host: HashMap::new(),
            tasks: JoinSet::new(),
            hosts: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Joins a job that finds the same, or begins one, or has it wait; sheds it if too many wait for that registry.
    pub(super) fn take(&mut self, job: Job) {
        let Job { pull, reply } = job;
        let host = pull.key.host.clone();
        let lane = self.by_host.entry(host.clone()).or_default();
        let waiter = Waiter {
            deadline: pull.deadline,
            reply,
        };
        if let Some(asked) = lane.same(&pull) {
            return asked.waiters.push(waiter);
        }
        lane.forget_leavers();
        if lane.waiting.len() >= MAX_WAITING {
            let shed = Pulled::refused(Reason::Overloaded, "too many artifacts are being verified");
            return waiter.answer(shed);
        }
        lane.waiting.push_back(Asked {
            pull: Arc::new(pull),
            waiters: vec![waiter],
        });
        self.begin(&host);
    }

    /// Waits for the next job that ends, answers its askers and begins what waits.
    pub(super) async fn finished(&mut self) {
        let Some(ended) = self.tasks.join_next_with_id().await else {
            return;
        };
        let (id, pulled) = match ended {
            Ok((id, pulled)) => (id, Some(pulled)),
            // Its askers are told by their dropped replies.
            Err(broken) => (broken.id(), None),
        };
        let Some(host) = self.hosts.remove(&id) else {
            return;
        };
        if let Some(lane) = self.by_host.get_mut(&host)
            && let Some(asked) = lane.running.remove(&id)
            && let Some(pulled) = pulled
        {
            lane.waiting.extend(asked.answer(&pulled));
        }
        self.begin(&host);
    }

    /// Begins what waits for this registry, as far as there is room.
    fn begin(&mut self, host: &str) {
        let Some(lane) = self.by_host.get_mut(host) else {
            return;
        };
        lane.forget_leavers();
        while lane.running.len() < MAX_RUNNING
            && let Some(asked) = lane.waiting.pop_front()
        {
            let (work, pull) = (Arc::clone(&self.work), Arc::clone(&asked.pull));
            let id = self.tasks.spawn(run(work, pull)).id();
            self.hosts.insert(id, host.to_owned());
            lane.running.insert(id, asked);
        }
        if lane.running.is_empty() && lane.waiting.is_empty() {
            self.by_host.remove(host);
        }
    }
}

impl Asked {
    /// Answers everyone. If the time of the first to ask was over, what the later ones still have time for is left.
    fn answer(self, pulled: &Pulled) -> Option<Self> {
        let Self { pull, waiters } = self;
        let has_time = |waiter: &Waiter| pulled.is_late() && waiter.deadline > pull.deadline;
        let (later, done): (Vec<_>, Vec<_>) = waiters.into_iter().partition(has_time);
        for waiter in done {
            waiter.answer(pulled.clone());
        }
        let deadline = later.iter().map(|waiter| waiter.deadline).max()?;
        let pull = Pull {
            deadline,
            ..Pull::clone(&pull)
        };
        Some(Self {
            pull: Arc::new(pull),
            waiters: later,
        })
    }
}

impl Waiter {
    fn answer(self, pulled: Pulled) {
        // Nobody waits any more after the deadline; what was found is in the caches.
        self.reply.send(pulled).unwrap_or_default();
    }
}

impl Lane {
    fn same(&mut self, pull: &Pull) -> Option<&mut Asked> {
        let mut all = self.running.values_mut().chain(&mut self.waiting);
        all.find(|asked| asked.pull.is_same(pull))
    }

    /// What waits and nobody waits for is not begun.
    fn forget_leavers(&mut self) {
        self.waiting
            .retain(|asked| asked.waiters.iter().any(|waiter| !waiter.reply.is_closed()));
    }
}

async fn run(work: Arc<Work>, pull: Arc<Pull>) -> Pulled {
    match timeout(LONGEST_JOB, work.pull(&pull)).await {
        Ok(pulled) => pulled,
        Err(_elapsed) => Pulled::refused(Reason::Deadline, "the registry took too long"),
    }
}

/// 16 jobs of one registry at a time // each holds some connections to it.
const MAX_RUNNING: usize = 16;

/// 128 jobs waiting for one registry // more is an overload, and said so at once.
const MAX_WAITING: usize = 128;

/// 15 s // a derivation takes ten at most; a job that outlives its askers must not keep its place for long.
const LONGEST_JOB: Duration = Duration::from_secs(15);
