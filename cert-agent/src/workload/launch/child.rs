//! The launcher as the agent's child: started with its descriptors, and heard until it has become the program.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    process::{Command, Stdio},
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use nix::{fcntl::OFlag, unistd::pipe2};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::{io::AsyncReadExt as _, net::unix::pipe, process::Child};

use super::super::{Scopes, scope::Scope};
use crate::exec::launcher::{Launch, PROGRAM_DESCRIPTOR, READY, STATUS_DESCRIPTOR};

pub(super) fn spawn(
    scopes: &Scopes,
    scope: &Scope,
    launch: &Launch,
    stdio: [OwnedFd; 3],
) -> io::Result<(Child, pipe::Receiver)> {
    let [input, output, errors] = stdio;
    let (status, launchers_end) = pipe2(OFlag::O_CLOEXEC)?;
    let program = scope.program.file().as_fd().try_clone_to_owned()?;
    let mut command = Command::new(scopes.launcher());
    command
        .arg("launch")
        .args(launch.to_arguments())
        .env_clear()
        .current_dir("/");
    command
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output))
        .stderr(Stdio::from(errors));
    let mappings = vec![
        FdMapping {
            parent_fd: program,
            child_fd: PROGRAM_DESCRIPTOR,
        },
        FdMapping {
            parent_fd: launchers_end,
            child_fd: STATUS_DESCRIPTOR,
        },
    ];
    command.fd_mappings(mappings).map_err(io::Error::other)?;
    let child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()?;
    // `command` is gone, and with it our copy of the launcher's end: the pipe now ends with the launcher.
    Ok((child, pipe::Receiver::from_owned_fd(status)?))
}

/// The pipe closes by itself when the launcher becomes the program; before, the launcher writes what went wrong.
pub(super) async fn started(mut status: pipe::Receiver) -> io::Result<()> {
    let mut report = Vec::new();
    let mut reader = (&mut status).take(MAX_REPORT_BYTES);
    match tokio::time::timeout(START_PATIENCE, reader.read_to_end(&mut report)).await {
        Ok(read) => read?,
        Err(_elapsed) => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the launcher took longer than {START_PATIENCE:?}"),
            ));
        }
    };
    let report = String::from_utf8_lossy(&report);
    match report.strip_prefix(READY) {
        Some("") => Ok(()),
        None if report.is_empty() => Err(io::Error::other("the launcher ended without a word")),
        Some(failure) => Err(io::Error::other(failure.to_owned())),
        None => Err(io::Error::other(report.into_owned())),
    }
}

pub(super) fn pidfd_of(child: &Child) -> io::Result<OwnedFd> {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    Ok(pidfd_open(
        pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?,
        PidfdFlags::empty(),
    )?)
}

/// 10 s: the launcher takes milliseconds.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// One line of words.
const MAX_REPORT_BYTES: u64 = 4096;
