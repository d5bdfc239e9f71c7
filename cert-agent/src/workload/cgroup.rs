//! One directory of the cgroup2 hierarchy: who is in it, freezing, killing and removing it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

mod mount;

pub use mount::Hierarchy;
pub(super) use mount::Mount;

/// A directory under the cgroup2 mount.
#[derive(Debug, Clone)]
pub(super) struct Cgroup {
    directory: PathBuf,
    name: String,
}

/// A cgroup2 hierarchy or the agent's place in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No cgroup2 is mounted.
    #[error(
        "no cgroup2 hierarchy is mounted; mount one with `mount -t cgroup2 none /sys/fs/cgroup/unified`"
    )]
    NotMounted,
    /// The list of mounts could not be read.
    #[error("cannot read `/proc/self/mountinfo`")]
    Mounts {
        /// What reading gave.
        #[source]
        source: io::Error,
    },
    /// The agent's directory could not be made, read or emptied.
    #[error("cannot use `{}` for scopes", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Two agents cannot have one directory: each would end the other's workloads.
    #[error("another cert-agent holds `{}`", path.display())]
    Held {
        /// The directory.
        path: PathBuf,
    },
    /// The program that starts others could not be looked at.
    #[error("cannot open the launcher `{}`", path.display())]
    Launcher {
        /// Its path.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Cgroup {
    /// Names a directory under a mount; it need not exist.
    pub(super) fn under(mount: &Mount, name: &str) -> Self {
        Self {
            directory: mount.point.join(name),
            name: mount.name_of(name),
        }
    }

    /// Names a directory in this one.
    pub(super) fn child(&self, name: &str) -> Self {
        Self {
            directory: self.directory.join(name),
            name: format!("{}/{name}", self.name),
        }
    }

    /// Where it lies in the file system.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its path as `/proc/PID/cgroup` shows it to the agent.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the directory, which must be new.
    pub(super) fn create(&self) -> io::Result<()> {
        fs::create_dir(&self.directory)
    }

    /// The processes in it, not those in cgroups below.
    pub(super) fn processes(&self) -> io::Result<Vec<u32>> {
        let text = fs::read_to_string(self.directory.join("cgroup.procs"))?;
        text.lines()
            .map(|line| {
                line.parse()
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            })
            .collect()
    }

    /// The cgroups below it.
    pub(super) fn children(&self) -> io::Result<Vec<Self>> {
        let mut children = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                children.push(self.child(&entry.file_name().to_string_lossy()));
            }
        }
        Ok(children)
    }

    /// Stops every process in it and below, and waits until all have stopped. They go on when the value is dropped, however that comes about.
    pub(super) fn freeze(&self, patience: Duration) -> io::Result<Frozen<'_>> {
        let frozen = Frozen(self); // first: a freeze that is not complete in time is undone too
        self.write("cgroup.freeze", "1")?;
        self.wait_for_event("frozen 1", patience)?;
        Ok(frozen)
    }

    /// Kills every process in it and below; one that is forked meanwhile too.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.write("cgroup.kill", "1")
    }

    /// Kills what is in it and removes it, with what is below.
    pub(super) fn end(&self, patience: Duration) -> io::Result<()> {
        self.kill()?;
        self.wait_for_event("populated 0", patience)?;
        for child in self.children()? {
            child.end(patience)?;
        }
        fs::remove_dir(&self.directory)
    }

    fn write(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.directory.join(file), value)
    }

    fn wait_for_event(&self, event: &str, patience: Duration) -> io::Result<()> {
        let deadline = Instant::now() + patience;
        let mut events = File::open(self.directory.join("cgroup.events"))?;
        loop {
            let mut text = String::new();
            events.rewind()?;
            events.read_to_string(&mut text)?;
            if text.lines().any(|line| line == event) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no `{event}` within {patience:?}"),
                ));
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(
                &mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)],
                timeout,
            )?;
        }
    }
}

/// A cgroup whose processes stand still until this is dropped.
#[derive(Debug)]
pub(super) struct Frozen<'a>(&'a Cgroup);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.write("cgroup.freeze", "0") {
            tracing::error!(cgroup = self.0.name, %error, "scope could not be thawed; its processes stand still");
        }
    }
}
