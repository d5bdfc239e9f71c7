//! A descriptor that names a process: whether that has ended, and waiting for it.

use std::{
    io,
    os::fd::{BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Whether the process a pidfd names has ended, reaped or not.
pub(super) fn has_exited(pidfd: BorrowedFd<'_>) -> nix::Result<bool> {
    loop {
        match poll(
            &mut [PollFd::new(pidfd, PollFlags::POLLIN)],
            PollTimeout::ZERO,
        ) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is an unsafe function; an `OwnedFd` keeps the promise that one asks for"
)]
pub(super) fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}
