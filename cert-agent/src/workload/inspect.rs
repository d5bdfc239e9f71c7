//! The look at a frozen scope: every process of it is the scope's program, and nothing else.

use std::{io, os::fd::OwnedFd, time::Duration};

use policy::reason::Reason;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use super::{
    FileId, Peer, Refused,
    cgroup::Cgroup,
    peer::{check_cannot_forge, failed},
    pidfd::has_exited,
    process::Process,
};

/// What every process of a scope is held to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// The program that was verified.
    pub(super) program: FileId,
    /// The launcher, while the program has not yet taken its place.
    pub(super) launcher: Option<FileId>,
    /// The user all run as.
    pub(super) uid: u32,
    /// The agent's own user namespace.
    pub(super) user_namespace: FileId,
}

/// Freezes a scope, looks at each of its processes, and thaws it. With a peer, that peer must be one of them. Blocks for at most [`FREEZE_PATIENCE`].
///
/// # Errors
/// `attestor-failed` when the scope does not stand still, or a process could forge what is observed; those of [`Peer::check`];
/// `workload-not-isolated` for a peer from elsewhere; `workload-modified` for a process that is not the program.
pub(super) fn inspect(
    cgroup: &Cgroup,
    expected: Expected,
    peer: Option<&Peer>,
) -> Result<(), Refused> {
    let _frozen = cgroup
        .freeze(FREEZE_PATIENCE)
        .map_err(|error| failed("the scope standing still", &error))?;
    let processes = members(cgroup)?;
    if let Some(peer) = peer {
        peer.check(expected.user_namespace)?;
        if !processes.contains(&peer.pid()) {
            return Err(Refused::new(
                Reason::WorkloadNotIsolated,
                "it is not in the scope",
            ));
        }
    }
    processes
        .into_iter()
        .try_for_each(|pid| check_member(pid, expected))
}

fn members(cgroup: &Cgroup) -> Result<Vec<u32>, Refused> {
    let processes = cgroup
        .processes()
        .map_err(|error| failed("the scope's processes", &error))?;
    if processes.len() > MAX_PROCESSES {
        return Err(Refused::new(
            Reason::AttestorFailed,
            format!("the scope has more than {MAX_PROCESSES} processes"),
        ));
    }
    let below = cgroup
        .children()
        .map_err(|error| failed("the scope's directory", &error))?;
    match below.first() {
        Some(child) => Err(Refused::new(
            Reason::WorkloadModified,
            format!("somebody made the cgroup `{}` in the scope", child.name()),
        )),
        None => Ok(processes),
    }
}

/// A process that ended meanwhile is no longer one of the scope's.
fn check_member(pid: u32, expected: Expected) -> Result<(), Refused> {
    let pidfd = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| modified(pid, "it cannot be seen from here"))?;
    let Some(pidfd) = pinned(pidfd_open(pidfd, PidfdFlags::empty()))? else {
        return Ok(());
    };
    let judged = match Process::open(pid) {
        Ok(process) => judge(&process, expected),
        Err(error) => Err(failed("a process", &error)),
    };
    match judged {
        Err(_ended) if has_exited(std::os::fd::AsFd::as_fd(&pidfd)) == Ok(true) => Ok(()),
        // The first thread can end while others run: such a process has nothing left to be read.
        Err(refused) if refused.reason == Reason::WorkloadGone => {
            Err(modified(pid, "it runs, but what it runs cannot be read"))
        }
        judged => judged,
    }
}

/// Only `ESRCH` says that the process has ended. When descriptors have run out, nothing is known of it.
fn pinned(opened: Result<OwnedFd, Errno>) -> Result<Option<OwnedFd>, Refused> {
    match opened {
        Ok(pidfd) => Ok(Some(pidfd)),
        Err(Errno::SRCH) => Ok(None),
        Err(error) => Err(Refused::new(
            Reason::AttestorFailed,
            format!("cannot pin a process of the scope: {error}"),
        )),
    }
}

fn judge(process: &Process, expected: Expected) -> Result<(), Refused> {
    let pid = process.pid();
    let program = read(pid, process.executable_id())?;
    if expected.launcher == Some(program) {
        return Ok(());
    }
    check_cannot_forge(process, expected.user_namespace)?;
    if program != expected.program {
        return Err(modified(
            pid,
            &format!(
                "it runs `{}`, not the program that was verified",
                process.executable_path()
            ),
        ));
    }
    if let Some(uid) = read(pid, process.powers())?
        .uids
        .iter()
        .find(|uid| **uid != expected.uid)
    {
        return Err(modified(
            pid,
            &format!("it runs as uid {uid}, not {}", expected.uid),
        ));
    }
    if let Some(variable) = read(pid, process.loader_variable())? {
        return Err(modified(
            pid,
            &format!("`{variable}` is in its environment"),
        ));
    }
    match read(pid, process.foreign_code())? {
        Some(file) => Err(modified(
            pid,
            &format!("it has loaded {file}, which others than root can change"),
        )),
        None => Ok(()),
    }
}

fn read<T>(pid: u32, read: io::Result<T>) -> Result<T, Refused> {
    read.map_err(|error| failed(&format!("process {pid}"), &error))
}

fn modified(pid: u32, found: &str) -> Refused {
    Refused::new(
        Reason::WorkloadModified,
        format!("process {pid} of the scope: {found}"),
    )
}

/// 1 s: processes stop within milliseconds, unless one is in the middle of slow input or output.
const FREEZE_PATIENCE: Duration = Duration::from_secs(1);
/// Each is read while all stand still.
const MAX_PROCESSES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_that_cannot_be_pinned_fails_the_attestor() {
        for error in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INVAL] {
            let refused = pinned(Err(error)).unwrap_err();
            assert_eq!(refused.reason, Reason::AttestorFailed, "{error}");
        }
    }

    #[test]
    fn member_that_has_ended_is_passed_over() {
        assert!(pinned(Err(Errno::SRCH)).unwrap().is_none());
    }
}
