//! Starting a verified program in a scope, and its end.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    },
    process::ExitStatus,
    sync::Arc,
};

use evidence::binding::Role;
use policy::reason::Reason;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::process::Child;

use super::{
    Program, Refused, Scopes, Workload,
    process::is_loader_variable,
    scope::{Scope, Stage},
};
use crate::exec::launcher::Launch;

mod child;

use child::{pidfd_of, spawn, started};

/// What to start, and as whom.
#[derive(Debug)]
pub struct LaunchSpec {
    /// The grant's name.
    pub grant: String,
    /// The user; never 0.
    pub uid: u32,
    /// The group; never 0.
    pub gid: u32,
    /// What the workload does in the mesh.
    pub role: Role,
    /// The program, whose evidence has been verified.
    pub program: Program,
    /// Its arguments, after its name.
    pub arguments: Vec<OsString>,
    /// Its whole environment. Loader variables are refused.
    pub environment: Vec<(OsString, OsString)>,
}

impl LaunchSpec {
    /// # Errors
    /// `workload-not-isolated` for root, `workload-modified` for a loader variable, `attestor-failed` for a grant whose name is no file name.
    pub(super) fn check(&self) -> Result<(), Refused> {
        if self.uid == 0 || self.gid == 0 {
            return Err(Refused::new(
                Reason::WorkloadNotIsolated,
                "a program is never run as root: root can read and forge every other workload",
            ));
        }
        if let Some((name, _)) = self
            .environment
            .iter()
            .find(|(name, _)| is_loader_variable(name.as_bytes()))
        {
            return Err(Refused::new(
                Reason::WorkloadModified,
                format!(
                    "`{}` would bring in code that nobody signed",
                    name.display()
                ),
            ));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if self.grant.is_empty()
            || self.grant.starts_with('.')
            || self.grant.len() > MAX_GRANT_BYTES
            || !self.grant.bytes().all(plain)
        {
            return Err(Refused::new(
                Reason::AttestorFailed,
                format!("the grant's name `{}` cannot name a cgroup", self.grant),
            ));
        }
        Ok(())
    }
}

/// A scope in which nothing runs yet: the time to make keys and files. Dropping it removes the scope.
#[derive(Debug)]
pub struct Prepared {
    held: Held,
    gid: u32,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl Prepared {
    pub(super) fn new(
        scopes: Scopes,
        scope: Arc<Scope>,
        gid: u32,
        arguments: Vec<OsString>,
        environment: Vec<(OsString, OsString)>,
    ) -> Self {
        Self {
            held: Held {
                scopes,
                scope,
                ended: false,
            },
            gid,
            arguments,
            environment,
        }
    }

    /// The workload to be.
    pub fn workload(&self) -> &Arc<Workload> {
        &self.held.scope.workload
    }

    /// Runs the program with these standard streams. Returns when the program has taken the launcher's place, and its file is still what was verified:
    /// from then on the kernel lets nobody write it. Until then no peer gets an answer.
    ///
    /// # Errors
    /// `attestor-failed` when it could not be started, `workload-modified` when its file was changed meanwhile.
    pub async fn start(self, stdio: [OwnedFd; 3]) -> Result<Running, Refused> {
        let Self {
            held,
            gid,
            arguments,
            environment,
        } = self;
        let scope = Arc::clone(&held.scope);
        let launch = Launch {
            cgroup: scope.cgroup.directory().to_owned(),
            uid: scope.workload.uid,
            gid,
            descriptors: held.scopes.descriptors(),
            environment,
            name: scope.program.path().as_os_str().to_owned(),
            arguments,
        };
        scope.reach(Stage::Starting);
        let failed = |error: io::Error| {
            scope.describe(Refused::new(
                Reason::AttestorFailed,
                format!("cannot start the program: {error}"),
            ))
        };
        let (child, status) = spawn(&held.scopes, &scope, &launch, stdio).map_err(failed)?;
        let pidfd = pidfd_of(&child).map_err(failed)?;
        started(status).await.map_err(failed)?;
        let starting = Arc::clone(&scope);
        let unchanged =
            tokio::task::spawn_blocking(move || starting.program.check_unchanged()).await;
        unchanged
            .map_err(|error| failed(io::Error::other(error)))?
            .map_err(|refused| scope.describe(refused))?;
        scope.reach(Stage::Running);
        Ok(Running {
            held,
            child,
            pidfd,
            exit: None,
        })
    }
}

/// A running program. Dropping it kills every process of the scope.
#[derive(Debug)]
pub struct Running {
    held: Held,
    child: Child,
    pidfd: OwnedFd,
    exit: Option<i32>,
}

impl Running {
    /// The workload.
    pub fn workload(&self) -> &Arc<Workload> {
        &self.held.scope.workload
    }

    /// The first process; none once it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal to the first process.
    ///
    /// # Errors
    /// There is no such signal, or the process has ended.
    pub fn signal(&self, number: i32) -> io::Result<()> {
        let signal = Signal::from_named_raw(number)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits for the program's end, and for that of its scope: the exit code, or 128 + the signal that ended it. May be dropped and called again.
    pub async fn wait(&mut self) -> i32 {
        if self.exit.is_none() {
            self.exit = Some(self.child.wait().await.map_or(UNKNOWN_EXIT_CODE, exit_code));
        }
        self.held.end().await;
        self.exit.unwrap_or(UNKNOWN_EXIT_CODE)
    }
}

/// A scope that ends with whoever holds it.
#[derive(Debug)]
struct Held {
    scopes: Scopes,
    scope: Arc<Scope>,
    ended: bool,
}

impl Held {
    async fn end(&mut self) {
        if self.ended {
            return;
        }
        let (scopes, scope) = (self.scopes.clone(), Arc::clone(&self.scope));
        self.ended = tokio::task::spawn_blocking(move || scopes.end(&scope))
            .await
            .is_ok();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.scope.kill();
        let (scopes, scope) = (self.scopes.clone(), Arc::clone(&self.scope));
        // A thread and not a task: a scope also ends when the runtime is about to.
        let ending = std::thread::Builder::new()
            .name("scope-end".to_owned())
            .spawn(move || scopes.end(&scope));
        if let Err(error) = ending {
            tracing::error!(%error, "no thread to end a scope with; its processes live on until the agent starts again");
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    let by_signal = || {
        status
            .signal()
            .map(|signal| signal.saturating_add(SIGNAL_EXIT_BASE))
    };
    status
        .code()
        .or_else(by_signal)
        .unwrap_or(UNKNOWN_EXIT_CODE)
}

/// As shells do it.
const SIGNAL_EXIT_BASE: i32 = 128;
/// The kernel did not tell how the program ended.
const UNKNOWN_EXIT_CODE: i32 = 255;
/// A name and a number make a directory's name of at most 255 bytes.
const MAX_GRANT_BYTES: usize = 200;
