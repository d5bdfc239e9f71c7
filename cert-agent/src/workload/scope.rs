//! One scope: a cgroup that the agent made, in which nothing ever started but one verified program.

use std::{io, sync::Arc, time::Duration};

use policy::reason::Reason;
use tokio::sync::watch;

use super::{
    FileId, Peer, Program, Refused, Workload,
    cgroup::Cgroup,
    inspect::{Expected, inspect},
};

/// The scope of one workload.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) workload: Arc<Workload>,
    pub(super) program: Program,
    pub(super) cgroup: Cgroup,
    launcher: FileId,
    user_namespace: FileId,
    stage: watch::Sender<Stage>,
    /// One look at a time: the first to finish would let the processes go while the second still reads.
    looking: parking_lot::Mutex<()>,
}

/// How far a scope has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nothing runs in it yet.
    Prepared,
    /// The launcher may run in it.
    Starting,
    /// Only the program may run in it.
    Running,
    /// It is being killed and removed.
    Ended,
}

impl Scope {
    pub(super) fn new(
        workload: Arc<Workload>,
        program: Program,
        cgroup: Cgroup,
        launcher: FileId,
        user_namespace: FileId,
    ) -> Self {
        let stage = watch::Sender::new(Stage::Prepared);
        Self {
            workload,
            program,
            cgroup,
            launcher,
            user_namespace,
            stage,
            looking: parking_lot::Mutex::new(()),
        }
    }

    /// Moves on; a scope that has ended stays so.
    pub(super) fn reach(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let later = *now < stage;
            if later {
                *now = stage;
            }
            later
        });
    }

    /// Resolves when the program runs and is known to be what was verified, or the scope has ended.
    pub(super) async fn settled(&self) {
        let mut stage = self.stage.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        drop(stage.wait_for(|stage| *stage >= Stage::Running).await);
    }

    /// Resolves when the scope has ended.
    pub(super) async fn ended(&self) {
        let mut stage = self.stage.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        drop(stage.wait_for(|stage| *stage == Stage::Ended).await);
    }

    /// Looks at every process, and at the peer if one asks. Blocks.
    ///
    /// # Errors
    /// Those of [`inspect`]; `workload-gone` when it has ended.
    pub(super) fn check(&self, peer: Option<&Peer>) -> Result<(), Refused> {
        let _looking = self.looking.lock();
        let stage = *self.stage.borrow();
        let launcher = match stage {
            Stage::Prepared | Stage::Starting => Some(self.launcher),
            Stage::Running => None,
            Stage::Ended => {
                return Err(
                    self.describe(Refused::new(Reason::WorkloadGone, "the scope has ended"))
                );
            }
        };
        let Self { user_namespace, .. } = *self;
        let expected = Expected {
            program: self.program.id(),
            launcher,
            uid: self.workload.uid,
            user_namespace,
        };
        inspect(&self.cgroup, expected, peer).map_err(|refused| self.describe(refused))
    }

    /// Kills every process, and lets nobody ask in its name any more. Does not wait.
    pub(super) fn kill(&self) {
        self.reach(Stage::Ended);
        if let Err(error) = self.cgroup.kill() {
            tracing::debug!(workload = self.workload.id, %error, "scope not killed now"); // its removal tries again, and tells
        }
    }

    /// Kills every process and removes the cgroup. Blocks for at most [`END_PATIENCE`] per cgroup.
    pub(super) fn end(&self) -> io::Result<()> {
        self.reach(Stage::Ended);
        self.cgroup.end(END_PATIENCE)
    }

    /// Names this scope in a refusal.
    pub(super) fn describe(&self, refused: Refused) -> Refused {
        refused
            .of(self.workload.id.clone(), self.workload.selectors.clone())
            .running([self.program.digest().clone()])
    }
}

/// 5 s: a killed process goes at once, unless it waits for a disk.
const END_PATIENCE: Duration = Duration::from_secs(5);
