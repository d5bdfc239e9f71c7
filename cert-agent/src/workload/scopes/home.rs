//! The directory of cgroups that is one agent's.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use evidence::digest::Digest;
use rustix::fs::{FlockOperation, flock};

use super::super::{CgroupError, cgroup::Cgroup};

/// Where scopes are made, and what starts programs in them.
#[derive(Debug, Clone)]
pub struct ScopesConfig {
    /// The agent's directory under the cgroup2 mount. One agent each.
    pub name: String,
    /// The program that is run as `launch`: the agent itself.
    pub launcher: PathBuf,
}

impl ScopesConfig {
    /// The configuration of an agent whose sockets lie in `runtime`: agents with two runtime directories do not meet.
    pub fn for_runtime(runtime: &Path) -> Self {
        let digest = Digest::sha256_of(runtime.as_os_str().as_encoded_bytes());
        let short: String = digest.hex().chars().take(NAME_HEX_DIGITS).collect();
        Self {
            name: format!("countersign-{short}"),
            launcher: PathBuf::from("/proc/self/exe"),
        }
    }
}

/// Makes the directory, or takes over that of an earlier run: nobody else may hold it, and what that run left is ended.
///
/// # Errors
/// No right to it, or another agent holds it.
pub(super) fn take(home: &Cgroup) -> Result<File, CgroupError> {
    let path = || home.directory().to_owned();
    let unusable = |source| CgroupError::Directory {
        path: path(),
        source,
    };
    match home.create() {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(error)),
        Ok(()) | Err(_) => {}
    }
    let lock = File::open(home.directory()).map_err(unusable)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => CgroupError::Held { path: path() },
        error => unusable(error.into()),
    })?;
    for leftover in home.children().map_err(unusable)? {
        tracing::warn!(
            scope = leftover.name(),
            "ending a scope that an earlier run left"
        );
        leftover.end(LEFTOVER_PATIENCE).map_err(unusable)?;
    }
    Ok(lock)
}

/// 48 bits keep two runtime directories of one machine apart.
const NAME_HEX_DIGITS: usize = 12;
/// 5 s: killed processes go at once, unless one waits for a disk.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(5);
