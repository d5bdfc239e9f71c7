//! The process at the other end of a unix socket, pinned for as long as it is held.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::Arc,
};

use policy::{grant::Selector, reason::Reason};
use tokio::{io::unix::AsyncFd, net::UnixStream};

use super::{
    Executable, FileId, Refused,
    pidfd::{has_exited, watch},
    process::{Process, is_gone},
    selectors,
};

mod credentials;

pub use credentials::Identification;
use credentials::{Credentials, pidfd_of};

/// The process that connected: who it was by the kernel, a descriptor that names it, and what it ran when it was looked at first.
///
/// A pidfd survives `execve`, and the process may have passed its socket on. So a peer is compared again before each answer.
#[derive(Debug, Clone)]
pub struct Peer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pidfd: AsyncFd<OwnedFd>,
    process: Process,
    uid: u32,
    gid: u32,
    start_time: u64,
    executable: Executable,
    identification: Identification,
}

impl Peer {
    /// Pins the process that connected. Needs a tokio runtime; does not wait.
    ///
    /// # Errors
    /// `workload-gone` when it has ended, `attestor-failed` when it cannot be seen from here.
    pub fn of(stream: &UnixStream) -> Result<Self, Refused> {
        let credentials = Credentials::of(stream)?;
        let named = |refused: Refused| {
            refused.of(
                name(credentials.pid),
                selectors(credentials.uid, credentials.gid),
            )
        };
        let pinned = pidfd_of(stream, credentials)
            .and_then(|(pidfd, identification)| Self::pin(credentials, pidfd, identification));
        pinned.map_err(named)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.process.pid()
    }

    /// The uid it had when it connected.
    pub fn uid(&self) -> u32 {
        self.0.uid
    }

    /// The gid it had when it connected.
    pub fn gid(&self) -> u32 {
        self.0.gid
    }

    /// When it started, in clock ticks since boot.
    pub fn start_time(&self) -> u64 {
        self.0.start_time
    }

    /// How it was pinned.
    pub fn identification(&self) -> Identification {
        self.0.identification
    }

    /// `unix:uid:N`, `unix:gid:N`.
    pub fn selectors(&self) -> Vec<Selector> {
        selectors(self.0.uid, self.0.gid)
    }

    /// What it ran when it was looked at first.
    pub fn executable(&self) -> &Executable {
        &self.0.executable
    }

    /// The descriptor that names the process.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.get_ref().as_fd()
    }

    /// Resolves when the process has ended, also when a child still holds its socket.
    pub async fn exited(&self) {
        // A pidfd becomes readable once, for good. Without a reactor we cannot watch, and must not say that it lives.
        drop(self.0.pidfd.readable().await);
    }

    /// Names this peer in a refusal.
    pub fn describe(&self, refused: Refused) -> Refused {
        refused.of(
            name(i32::try_from(self.pid()).unwrap_or_default()),
            self.selectors(),
        )
    }

    /// Holds the peer to the rules that need no scope: alive, not in a position to forge what is observed, and still the program it was.
    ///
    /// # Errors
    /// In this order: `workload-gone`, `attestor-failed`, `workload-changed`.
    pub(super) fn check(&self, user_namespace: FileId) -> Result<(), Refused> {
        self.check_lives()?;
        let result = self
            .check_cannot_forge(user_namespace)
            .and_then(|()| self.check_unchanged());
        self.check_lives()?; // the process could have ended while it was read
        result
    }

    /// # Errors
    /// `workload-gone`.
    pub(super) fn check_lives(&self) -> Result<(), Refused> {
        if has_exited(self.pidfd()).unwrap_or(true) {
            Err(gone())
        } else {
            Ok(())
        }
    }

    pub(super) fn process(&self) -> &Process {
        &self.0.process
    }

    fn check_cannot_forge(&self, user_namespace: FileId) -> Result<(), Refused> {
        check_cannot_forge(&self.0.process, user_namespace)
    }

    fn check_unchanged(&self) -> Result<(), Refused> {
        let now = self
            .0
            .process
            .executable_id()
            .map_err(|error| failed("its executable", &error))?;
        if now == self.0.executable.id() {
            return Ok(());
        }
        let detail = format!(
            "it runs `{}`, not what it ran when it connected",
            self.0.process.executable_path()
        );
        Err(Refused::new(Reason::WorkloadChanged, detail))
    }

    fn pin(
        credentials: Credentials,
        pidfd: OwnedFd,
        identification: Identification,
    ) -> Result<Self, Refused> {
        let Credentials { pid, uid, gid } = credentials;
        let pid = u32::try_from(pid)
            .ok()
            .filter(|pid| *pid > 0)
            .ok_or_else(unseen)?;
        let process = Process::open(pid).map_err(|error| failed("its process", &error))?;
        let read = || -> io::Result<_> {
            Ok((
                process.start_time()?,
                process.powers()?.uids,
                process.executable()?,
            ))
        };
        let read = read();
        // Only now is it sure that `/proc/PID` was the directory of the process that the descriptor names.
        if has_exited(pidfd.as_fd()).unwrap_or(true) {
            return Err(gone());
        }
        let (start_time, uids, executable) = read.map_err(|error| failed("its process", &error))?;
        if identification == Identification::PidfdOpen && !uids.contains(&uid) {
            return Err(Refused::new(
                Reason::AttestorFailed,
                "the process with the peer's id has another uid",
            ));
        }
        let pidfd = watch(pidfd).map_err(|error| failed("its end", &error))?;
        Ok(Self(Arc::new(Inner {
            pidfd,
            process,
            uid,
            gid,
            start_time,
            executable,
            identification,
        })))
    }
}

/// Refuses a process that could point `/proc/PID/exe` elsewhere, or that lives where our view of capabilities means nothing.
///
/// # Errors
/// `attestor-failed`.
pub(super) fn check_cannot_forge(process: &Process, user_namespace: FileId) -> Result<(), Refused> {
    let namespace = process
        .user_namespace()
        .map_err(|error| failed("its user namespace", &error))?;
    if namespace != user_namespace {
        return Err(Refused::new(
            Reason::AttestorFailed,
            "it is in a user namespace of its own, where it can forge what it runs",
        ));
    }
    let powers = process
        .powers()
        .map_err(|error| failed("its threads", &error))?;
    match powers.dangerous() {
        Some(capability) => Err(Refused::new(
            Reason::AttestorFailed,
            format!("it holds {capability}, so it can forge what it runs"),
        )),
        None => Ok(()),
    }
}

fn unseen() -> Refused {
    Refused::new(
        Reason::AttestorFailed,
        "it is in a process namespace that cannot be seen from here",
    )
}

fn gone() -> Refused {
    Refused::new(Reason::WorkloadGone, "the process that connected has ended")
}

pub(super) fn failed(what: &str, error: &io::Error) -> Refused {
    if is_gone(error) {
        gone()
    } else {
        Refused::new(
            Reason::AttestorFailed,
            format!("cannot read {what}: {error}"),
        )
    }
}

fn name(pid: i32) -> String {
    format!("pid {pid}")
}

#[cfg(test)]
mod tests;
