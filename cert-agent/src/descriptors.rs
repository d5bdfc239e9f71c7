//! How many descriptors this process may have open.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limit in force now.
///
/// # Errors
/// What the kernel said.
pub(crate) fn limit() -> io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// Raises the limit to what the system allows this process, and returns that. The default of 1024 is for programs that call `select`.
///
/// # Errors
/// What the kernel said.
pub(crate) fn raise_limit() -> io::Result<u64> {
    let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Sets the limit again, or as near to it as the system allows.
///
/// # Errors
/// What the kernel said.
pub(crate) fn set_limit(limit: u64) -> io::Result<()> {
    let (_soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, limit.min(hard), hard)?)
}
