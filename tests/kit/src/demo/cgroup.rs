//! A cgroup made by hand, as anyone with root could: the agent did not begin it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::layout::Layout;
use crate::process::Program;

/// A cgroup that goes with this value.
#[derive(Debug)]
pub struct ByHand {
    path: PathBuf,
}

impl ByHand {
    /// Makes one, named after `base`.
    ///
    /// # Errors
    ///
    /// When there is no cgroup v2 mount.
    pub fn new(base: &Path) -> anyhow::Result<Self> {
        let name = base
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("demo");
        let path = mount()?.join(format!("by-hand-{name}"));
        if !path.exists() {
            std::fs::create_dir(&path)
                .with_context(|| format!("cannot make {}", path.display()))?;
        }
        Ok(Self { path })
    }

    /// A program that runs in it under `uid`, and knows where the Workload API is.
    pub fn program(&self, log: &str, uid: u32, program: &Path, layout: &Layout) -> Program {
        let script = r#"echo $$ > "$1/cgroup.procs"; shift; exec setpriv --reuid="$1" --regid="$1" --clear-groups -- "${@:2}""#;
        Program::new(log, "/bin/bash", &layout.logs())
            .args(["-c", script, "by-hand"])
            .arg(&self.path)
            .arg(uid.to_string())
            .arg(program)
            .env(
                "SPIFFE_ENDPOINT_SOCKET",
                format!("unix://{}", layout.agent_socket().display()),
            )
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        // The kernel removes an empty cgroup only.
        drop(std::fs::remove_dir(&self.path));
    }
}

/// The cgroup v2 hierarchy, alone or beside v1.
fn mount() -> anyhow::Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let found =
        mounts.lines().find_map(
            |line| match line.split(' ').collect::<Vec<_>>().as_slice() {
                [_, path, "cgroup2", ..] => Some(PathBuf::from(path)),
                _ => None,
            },
        );
    let Some(path) = found else {
        bail!("no cgroup2 mount in /proc/mounts")
    };
    Ok(path)
}
