//! What is done to the running programs from outside.

use std::path::Path;

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{COMMAND, World};
use crate::process::Running;

impl World {
    /// Kills authz-service itself, without a word. `cert-agent exec`, which began it, ends with it.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub async fn kill_authz(&mut self) -> anyhow::Result<()> {
        let path = self.layout.bin("authz-service");
        let pids = pids_of(&path)?;
        ensure!(!pids.is_empty(), "no process runs {}", path.display());
        for pid in pids {
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        }
        let mut authz = self.authz.take().context("authz-service does not run")?;
        authz.ended(COMMAND).await.map(drop)
    }

    /// Hands over the running authz-service: `cert-agent exec`, which passes signals and the exit code on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn take_authz(&mut self) -> anyhow::Result<Running> {
        self.authz.take().context("authz-service does not run")
    }

    /// Halts the registry, which then answers nothing, or lets it go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn signal_registry(&self, signal: Signal) -> anyhow::Result<()> {
        self.registry
            .as_ref()
            .context("the registry does not run")?
            .signal(signal)
    }
}

/// The processes that run exactly this file.
fn pids_of(program: &Path) -> anyhow::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let runs = std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program);
        if let (true, Some(pid)) = (
            runs,
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok()),
        ) {
            pids.push(pid);
        }
    }
    Ok(pids)
}
