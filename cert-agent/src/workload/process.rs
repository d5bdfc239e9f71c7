//! One process, read through a `/proc` directory that was opened once: it can never come to name another process.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use rustix::fs::{Dir, Mode, OFlags};

use super::{FileId, executable::Executable, file::FileFacts};

mod text;

use text::{Mapping, Status};

/// A process that was there when it was opened.
#[derive(Debug)]
pub(super) struct Process {
    pid: u32,
    directory: OwnedFd,
}

/// What the threads of a process may do, and as whom: the union over all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Powers {
    /// Real, effective, saved and file system uids.
    pub(super) uids: Vec<u32>,
    /// Permitted and effective capabilities.
    pub(super) capabilities: u64,
}

impl Process {
    /// Opens the process that has this id now.
    pub(super) fn open(pid: u32) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            pid,
            directory: rustix::fs::open(format!("/proc/{pid}"), flags, Mode::empty())?,
        })
    }

    /// Its process id.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// When it started, in clock ticks since boot.
    pub(super) fn start_time(&self) -> io::Result<u64> {
        text::start_time(&self.read("stat")?).ok_or_else(|| unreadable("stat"))
    }

    /// The user namespace it is in.
    pub(super) fn user_namespace(&self) -> io::Result<FileId> {
        Ok(FileFacts::at(&self.directory, "ns/user")?.id)
    }

    /// Its path in the cgroup2 hierarchy.
    pub(super) fn cgroup(&self) -> io::Result<String> {
        text::cgroup2(&self.read("cgroup")?).ok_or_else(|| unreadable("cgroup"))
    }

    /// Opens what it runs now.
    pub(super) fn executable(&self) -> io::Result<Executable> {
        // O_PATH: opening a file on a file system of the process's own must not wait for that file system.
        Executable::new(self.open_at("exe", OFlags::PATH)?)
    }

    /// Which file it runs now.
    pub(super) fn executable_id(&self) -> io::Result<FileId> {
        Ok(FileFacts::at(&self.directory, "exe")?.id)
    }

    /// The path of what it runs: words for the operator, never evidence.
    pub(super) fn executable_path(&self) -> String {
        rustix::fs::readlinkat(&self.directory, "exe", Vec::new()).map_or_else(
            |_gone| "?".to_owned(),
            |path| path.to_string_lossy().into_owned(),
        )
    }

    /// What its threads may do. Capabilities are a thread's own, so every thread is read.
    pub(super) fn powers(&self) -> io::Result<Powers> {
        let mut powers = Powers::default();
        let tasks = Dir::new(self.open_at("task", OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        for (count, task) in tasks.enumerate() {
            if count > MAX_THREADS {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!("more than {MAX_THREADS} threads"),
                ));
            }
            let task = task?;
            if task.file_name().to_bytes().starts_with(b".") {
                continue;
            }
            match self.read(&format!(
                "task/{}/status",
                task.file_name().to_string_lossy()
            )) {
                Ok(status) => {
                    powers.add(&Status::parse(&status).ok_or_else(|| unreadable("status"))?);
                }
                Err(error) if is_gone(&error) => {} // that thread ended
                Err(error) => return Err(error),
            }
        }
        if powers.uids.is_empty() {
            Err(rustix::io::Errno::SRCH.into())
        } else {
            Ok(powers)
        }
    }

    /// The first variable of its environment that makes the loader load something else.
    pub(super) fn loader_variable(&self) -> io::Result<Option<String>> {
        let environment = self.read("environ")?;
        Ok(text::variables(&environment)
            .find(|name| is_loader_variable(name))
            .map(|name| String::from_utf8_lossy(name).into_owned()))
    }

    /// The first file it has mapped as code that somebody but root can change.
    pub(super) fn foreign_code(&self) -> io::Result<Option<String>> {
        let maps = self.read("maps")?;
        for mapping in Mapping::code_from_files(&maps) {
            let Mapping { start, end, path } = mapping.ok_or_else(|| unreadable("maps"))?;
            let facts = FileFacts::at(&self.directory, format!("map_files/{start:x}-{end:x}"))?;
            if !facts.only_root_writes() {
                return Ok(Some(format!(
                    "`{path}` (owner {}, mode {:o})",
                    facts.owner,
                    facts.permissions()
                )));
            }
        }
        Ok(None)
    }

    fn open_at(&self, name: &str, flags: OFlags) -> io::Result<OwnedFd> {
        Ok(rustix::fs::openat(
            &self.directory,
            name,
            flags | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = File::from(self.open_at(name, OFlags::RDONLY)?);
        let mut bytes = Vec::new();
        let length = file
            .take(MAX_BYTES.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if u64::try_from(length).is_ok_and(|length| length <= MAX_BYTES) {
            Ok(bytes)
        } else {
            Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("`{name}` is larger than {MAX_BYTES} bytes"),
            ))
        }
    }
}

impl Powers {
    fn add(&mut self, status: &Status) {
        for uid in status.uids {
            if !self.uids.contains(&uid) {
                self.uids.push(uid);
            }
        }
        self.capabilities |= status.capabilities;
    }

    /// The first capability that lets a process forge what is observed of it.
    pub(super) fn dangerous(&self) -> Option<&'static str> {
        DANGEROUS_CAPABILITIES
            .iter()
            .find(|(bit, _)| self.capabilities >> bit & 1 == 1)
            .map(|(_, name)| *name)
    }
}

/// Whether a variable changes which code the dynamic loader brings in, or how.
pub(super) fn is_loader_variable(name: &[u8]) -> bool {
    name.starts_with(b"LD_") || name == b"GLIBC_TUNABLES" || name == b"GCONV_PATH"
}

/// Whether reading failed because the process has ended.
pub(super) fn is_gone(error: &io::Error) -> bool {
    [rustix::io::Errno::SRCH, rustix::io::Errno::NOENT]
        .iter()
        .any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

fn unreadable(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("`{name}` does not read as the kernel writes it"),
    )
}

/// The exe link can be pointed elsewhere by `PR_SET_MM_MAP`, which each of these allows; `CAP_SYS_PTRACE` reads and writes other processes.
const DANGEROUS_CAPABILITIES: [(u32, &str); 4] = [
    (19, "CAP_SYS_PTRACE"),
    (21, "CAP_SYS_ADMIN"),
    (24, "CAP_SYS_RESOURCE"),
    (40, "CAP_CHECKPOINT_RESTORE"),
];
/// Threads of one process: the kernel's own default for a user's tasks is lower on most machines.
const MAX_THREADS: usize = 32_768;
/// 8 MiB of text under `/proc`: `maps` has 65 530 lines at most by default, of about 100 bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_process_reads_as_itself() {
        let process = Process::open(std::process::id()).unwrap();
        assert_eq!(process.pid(), std::process::id());
        assert!(process.start_time().unwrap() > 0);
        let own = FileFacts::at(rustix::fs::CWD, std::env::current_exe().unwrap()).unwrap();
        assert_eq!(process.executable_id().unwrap(), own.id);
        assert_eq!(process.executable().unwrap().id(), own.id);
        assert_eq!(
            process.user_namespace().unwrap(),
            FileFacts::at(rustix::fs::CWD, "/proc/self/ns/user")
                .unwrap()
                .id
        );
        assert!(process.cgroup().unwrap().starts_with('/'));
        assert!(
            process
                .powers()
                .unwrap()
                .uids
                .contains(&rustix::process::getuid().as_raw())
        );
    }

    #[test]
    fn ended_process_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Process::open(child.id()).unwrap();
        child.wait().unwrap();
        assert!(is_gone(&process.start_time().unwrap_err()));
        assert!(is_gone(&process.executable_id().unwrap_err()));
    }

    #[test]
    fn variables_of_the_loader_are_told_from_others() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "LD_AUDIT",
            "GLIBC_TUNABLES",
        ] {
            assert!(is_loader_variable(name.as_bytes()), "{name}");
        }
        assert!(!is_loader_variable(b"PATH") && !is_loader_variable(b"OLD_PRELOAD"));
    }

    #[test]
    fn capabilities_that_can_forge_are_dangerous() {
        let powers = |bit: u32| Powers {
            uids: vec![1],
            capabilities: 1 << bit,
        };
        assert_eq!(powers(40).dangerous(), Some("CAP_CHECKPOINT_RESTORE"));
        assert_eq!(powers(24).dangerous(), Some("CAP_SYS_RESOURCE"));
        assert_eq!(powers(10).dangerous(), None);
    }
}
