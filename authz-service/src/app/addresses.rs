//! What was bound, told to other programs: port 0 is only known afterwards.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use daemon::atomic_file;
use serde::{Deserialize, Serialize};

use super::StartError;

/// Every address of a running service, as `addresses.json` in the runtime directory holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// Check over mTLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_tcp: Option<SocketAddr>,
    /// Check on a unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check_unix: Option<PathBuf>,
    /// The feed.
    pub feed: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
    /// The admin socket.
    pub admin: PathBuf,
}

impl Addresses {
    /// Writes `addresses.json`, atomically.
    pub(super) fn write(&self, runtime: &Path) -> Result<(), StartError> {
        let file = runtime.join("addresses.json");
        serde_json::to_vec_pretty(self)
            .map_err(io::Error::from)
            .and_then(|json| atomic_file::write(&file, &json, 0o644))
            .map_err(|source| StartError::Addresses { file, source })
    }
}
