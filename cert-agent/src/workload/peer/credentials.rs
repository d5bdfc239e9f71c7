//! What the kernel says of the other end of a unix socket.

use std::os::fd::OwnedFd;

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;

use super::{Refused, failed, gone, unseen};

/// How the peer was pinned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identification {
    /// `SO_PEERPIDFD`: the kernel names the process that connected. Linux 6.5.
    PeerPidfd,
    /// `SO_PEERCRED`, then `pidfd_open`, before Linux 6.5: the id could have been given to another process in between, so that one must have the uid
    /// of the one that connected. What it runs is judged like any other's.
    PidfdOpen,
}

impl Identification {
    /// The way this kernel offers, for the line that the agent logs at its start.
    pub(in super::super) fn of_this_kernel() -> Self {
        let offered = std::os::unix::net::UnixStream::pair()
            .is_ok_and(|(stream, _other)| getsockopt(&stream, sockopt::PeerPidfd).is_ok());
        if offered {
            Self::PeerPidfd
        } else {
            Self::PidfdOpen
        }
    }

    /// The way in words, for a log line or a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeerPidfd => "so_peerpidfd",
            Self::PidfdOpen => "pidfd_open",
        }
    }
}

/// `SO_PEERCRED`: who connected, at that time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Credentials {
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Credentials {
    pub(super) fn of(stream: &UnixStream) -> Result<Self, Refused> {
        let found = getsockopt(stream, sockopt::PeerCredentials)
            .map_err(|error| failed("its credentials", &error.into()))?;
        Ok(Self {
            pid: found.pid(),
            uid: found.uid(),
            gid: found.gid(),
        })
    }
}

pub(super) fn pidfd_of(
    stream: &UnixStream,
    credentials: Credentials,
) -> Result<(OwnedFd, Identification), Refused> {
    match getsockopt(stream, sockopt::PeerPidfd) {
        Ok(pidfd) => Ok((pidfd, Identification::PeerPidfd)),
        Err(Errno::ENOPROTOOPT) => Ok((open_pidfd(credentials.pid)?, Identification::PidfdOpen)), // before Linux 6.5
        Err(Errno::ESRCH | Errno::EINVAL | Errno::ENODATA) => Err(gone()),
        Err(error) => Err(failed("its pidfd", &error.into())),
    }
}

pub(super) fn open_pidfd(pid: i32) -> Result<OwnedFd, Refused> {
    let pid = Pid::from_raw(pid).ok_or_else(unseen)?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed("its pidfd", &error.into()))
}
