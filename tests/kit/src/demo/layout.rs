//! Where everything of one run lies: one directory of root's, since an agent believes only what root alone can write.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The uid of each kind of program: never 0, none shared. Outside the ranges of Debian and systemd.
pub mod uid {
    /// authz-service.
    pub const AUTHZ: u32 = 60901;
    /// Envoy.
    pub const ENVOY: u32 = 60902;
    /// The frontend.
    pub const FRONTEND: u32 = 60903;
    /// The image puller.
    pub const PULLER: u32 = 60904;
    /// The payments service, which has no identity of its own.
    pub const PAYMENTS: u32 = 60905;
}

/// The directories of one run.
#[derive(Debug, Clone)]
pub struct Layout {
    base: PathBuf,
}

impl Layout {
    /// Begins with an empty directory.
    ///
    /// # Errors
    ///
    /// When it cannot be made, or another run is using it.
    pub fn new(base: &Path) -> anyhow::Result<Self> {
        let layout = Self {
            base: base.to_owned(),
        };
        if base.exists() {
            ensure!(
                layout.owner_is_gone(),
                "another demo is running in {}: stop it first",
                base.display()
            );
            std::fs::remove_dir_all(base)
                .with_context(|| format!("cannot clear {}", base.display()))?;
        }
        make(base, 0o755)?;
        std::fs::write(layout.owner(), std::process::id().to_string())?;
        for directory in [
            "bin",
            "policy",
            "policy/keys",
            "evidence",
            "actors",
            "attackers",
            "logs",
            "envoy",
            "agent",
            "authz",
            "registry",
        ] {
            make(&base.join(directory), 0o755)?;
        }
        for (directory, owner) in [("authz/run", uid::AUTHZ), ("authz/state", uid::AUTHZ)] {
            make(&base.join(directory), 0o755)?;
            chown(base.join(directory), Some(owner), Some(owner))?;
        }
        make(&base.join("agent/run"), 0o755)?;
        make(&base.join("agent/state"), 0o700)?;
        Ok(layout)
    }

    /// Makes a directory for one actor's certificate files: the agent writes them where only root may write.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn actor(&self, name: &str) -> anyhow::Result<PathBuf> {
        let directory = self.base.join("actors").join(name);
        make(&directory, 0o755)?;
        Ok(directory)
    }

    /// Makes a directory for what a program of `owner`'s writes.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn scratch(&self, name: &str, owner: u32) -> anyhow::Result<PathBuf> {
        let directory = self.actor(name)?;
        chown(&directory, Some(owner), Some(owner))?;
        Ok(directory)
    }

    /// Removes everything of the run.
    ///
    /// # Errors
    ///
    /// When it cannot be removed.
    pub fn remove(&self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.base)
            .with_context(|| format!("cannot remove {}", self.base.display()))
    }

    fn owner(&self) -> PathBuf {
        self.base.join("pid")
    }

    fn owner_is_gone(&self) -> bool {
        let pid = std::fs::read_to_string(self.owner()).unwrap_or_default();
        let Ok(pid) = pid.trim().parse::<u32>() else {
            return true;
        };
        let demo = std::env::current_exe().ok();
        pid == std::process::id() || std::fs::read_link(format!("/proc/{pid}/exe")).ok() != demo
    }

    /// The directory of everything.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// A program.
    pub fn bin(&self, name: &str) -> PathBuf {
        self.base.join("bin").join(name)
    }

    /// The policy directory of both programs.
    pub fn policy(&self) -> PathBuf {
        self.base.join("policy")
    }

    /// Evidence by digest.
    pub fn evidence(&self) -> PathBuf {
        self.base.join("evidence")
    }

    /// The embedded CA.
    pub fn ca(&self) -> PathBuf {
        self.base.join("ca")
    }

    /// The operator's copy of the root, from which authz-service trusts the agents.
    pub fn root_pem(&self) -> PathBuf {
        self.base.join("root.pem")
    }

    /// What programs print.
    pub fn logs(&self) -> PathBuf {
        self.base.join("logs")
    }

    /// The agent's Workload API and SDS.
    pub fn agent_socket(&self) -> PathBuf {
        self.base.join("agent/run/agent.sock")
    }

    /// The agent's admin socket.
    pub fn agent_admin(&self) -> PathBuf {
        self.base.join("agent/run/agent-admin.sock")
    }

    /// authz-service's Check socket.
    pub fn check_socket(&self) -> PathBuf {
        self.base.join("authz/run/authz.sock")
    }

    /// authz-service's admin socket.
    pub fn authz_admin(&self) -> PathBuf {
        self.base.join("authz/run/authz-admin.sock")
    }

    /// One record per decision.
    pub fn records(&self) -> PathBuf {
        self.base.join("authz/state/records.jsonl")
    }

    /// cert-agent's configuration.
    pub fn agent_config(&self) -> PathBuf {
        self.base.join("agent/cert-agent.yaml")
    }

    /// authz-service's configuration.
    pub fn authz_config(&self) -> PathBuf {
        self.base.join("authz/authz-service.yaml")
    }

    /// Envoy's configuration.
    pub fn envoy_config(&self) -> PathBuf {
        self.base.join("envoy/envoy.json")
    }
}

fn make(directory: &Path, mode: u32) -> anyhow::Result<()> {
    let context = || format!("cannot make {}", directory.display());
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(directory)
        .with_context(context)?;
    // Whatever the umask says.
    std::fs::set_permissions(directory, Permissions::from_mode(mode)).with_context(context)
}
