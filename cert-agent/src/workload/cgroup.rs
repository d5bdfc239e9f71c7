//! One directory of the cgroup2 hierarchy: who is in it, freezing, killing and removing it.

use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

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
        self.write("cgroup.freeze", "1")?;
        let frozen = Frozen(self); // before the wait: a freeze that is not complete in time is undone too
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
            match poll(
                &mut [PollFd::new(events.as_fd(), PollFlags::POLLPRI)],
                timeout,
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
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

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        process::{Child, Command},
    };

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A cgroup of the test's own, and a process in it.
    fn busy(name: &str) -> (Cgroup, Child) {
        let cgroup = Cgroup::under(
            &Mount::find().unwrap(),
            &format!("countersign-unit-{}-{name}", std::process::id()),
        );
        cgroup.create().unwrap();
        let child = Command::new("sleep").arg("100").spawn().unwrap();
        cgroup
            .write("cgroup.procs", &child.id().to_string())
            .unwrap();
        (cgroup, child)
    }

    fn ended(cgroup: &Cgroup, mut child: Child) {
        cgroup.end(PATIENCE).unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!cgroup.directory().exists());
    }

    #[test]
    fn processes_stand_still_until_the_guard_is_dropped() {
        let (cgroup, child) = busy("guard");
        assert_eq!(cgroup.processes().unwrap(), [child.id()]);
        let frozen = cgroup.freeze(PATIENCE).unwrap();
        cgroup.wait_for_event("frozen 1", Duration::ZERO).unwrap();
        drop(frozen);
        cgroup.wait_for_event("frozen 0", PATIENCE).unwrap();
        ended(&cgroup, child);
    }

    #[test]
    fn panic_thaws() {
        let (cgroup, child) = busy("panic");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _frozen = cgroup.freeze(PATIENCE).unwrap();
            panic!("in the middle of a look");
        }));
        assert!(panicked.is_err());
        cgroup.wait_for_event("frozen 0", PATIENCE).unwrap();
        ended(&cgroup, child);
    }

    #[test]
    fn freeze_that_is_late_is_undone() {
        let (cgroup, child) = busy("late");
        // The time is over before the first process can have stopped, or it is not: either way nothing stands still after.
        drop(cgroup.freeze(Duration::ZERO));
        cgroup.wait_for_event("frozen 0", PATIENCE).unwrap();
        ended(&cgroup, child);
    }

    #[test]
    fn frozen_cgroup_can_be_ended() {
        let (cgroup, child) = busy("frozen");
        cgroup.write("cgroup.freeze", "1").unwrap();
        cgroup.wait_for_event("frozen 1", PATIENCE).unwrap();
        ended(&cgroup, child);
    }

    #[test]
    fn cgroup_that_is_not_there_cannot_be_frozen() {
        let cgroup = Cgroup::under(&Mount::find().unwrap(), "countersign-unit-missing");
        assert_eq!(
            cgroup.freeze(PATIENCE).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
