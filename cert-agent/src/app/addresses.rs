//! Where a running agent is to be found, written where other programs can read it.

use std::{io, net::SocketAddr, path::Path};

use daemon::atomic_file;
use serde::Serialize;

/// The addresses that were bound, port 0 resolved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Health and metrics.
    pub health: SocketAddr,
}

impl Addresses {
    /// Writes `addresses.json` into the runtime directory.
    ///
    /// # Errors
    /// Anything the file system says.
    pub fn write(&self, runtime: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        atomic_file::write(&runtime.join("addresses.json"), &json, 0o644)
    }
}
