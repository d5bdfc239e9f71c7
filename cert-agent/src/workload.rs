//! Who asks on a socket: the process, the scope it runs in, and what that scope was started from.

use std::time::SystemTime;

use evidence::{binding::BoundArtifact, digest::Digest};
use policy::grant::Selector;

mod cgroup;
mod digests;
mod executable;
mod file;
mod inspect;
mod launch;
mod peer;
mod pidfd;
mod process;
mod program;
mod refused;
mod scope;
mod scopes;

pub use cgroup::{CgroupError, Hierarchy};
pub use executable::Executable;
pub use file::FileId;
pub use launch::{LaunchSpec, Prepared, Running};
pub use peer::{Identification, Peer};
pub use program::Program;
pub use refused::Refused;
pub use scopes::{Scopes, ScopesConfig};

/// One running scope that the agent began: the unit of attestation, of a key and of a binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// `<grant>-<n>`: unique while the agent runs.
    pub id: String,
    /// The grant it was started for.
    pub grant: String,
    /// The user its processes run as; never 0, and never that of another grant.
    pub uid: u32,
    /// What the agent observed: `unix:uid:N`, `unix:gid:N`.
    pub selectors: Vec<Selector>,
    /// What it runs: one executable.
    pub artifacts: Vec<BoundArtifact>,
    /// The digest of the executable that every process of the scope is.
    pub program: Digest,
    /// When the scope was made.
    pub started: SystemTime,
}

fn selectors(uid: u32, gid: u32) -> Vec<Selector> {
    [format!("unix:uid:{uid}"), format!("unix:gid:{gid}")]
        .iter()
        .filter_map(|text| Selector::parse(text).ok())
        .collect()
}
