//! A program fit to run under an identity: opened once, hashed, and held to rules about its file and its libraries.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path, PathBuf},
};

use daemon::chain;
use evidence::digest::Digest;
use policy::reason::Reason;
use rustix::fs::{CWD, OFlags};

use super::{FileId, Refused, executable::sha256, file::FileFacts};

mod elf;

use elf::{InvalidElf, Linkage};

/// The open program. What is hashed, judged and run is this descriptor; the path is only a name.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    file: File,
    digest: Digest,
    id: FileId,
}

impl Program {
    /// Opens and hashes a program, and checks that only root can change it or what its loader brings in, and that its own user cannot read it.
    ///
    /// A program that its user cannot read runs undumpable: another process of that user cannot read its memory.
    ///
    /// # Errors
    /// `artifact-not-found`; `artifact-malformed` for a file that is no program; `workload-not-isolated` for a broken file rule.
    pub async fn open(path: &Path) -> Result<Self, Refused> {
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(path)).await;
        opened.unwrap_or_else(|error| Err(Refused::new(Reason::AttestorFailed, chain(&error))))
    }

    /// Its SHA-256.
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Which file it is.
    pub const fn id(&self) -> FileId {
        self.id
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hashes the descriptor again. Once the program runs, the kernel lets nobody write its file; before, whoever opened it earlier could. Blocks.
    ///
    /// # Errors
    /// `workload-modified`; `attestor-failed` when it cannot be read.
    pub(super) fn check_unchanged(&self) -> Result<(), Refused> {
        let digest = sha256(&self.file, MAX_PROGRAM_BYTES)
            .map_err(|source| BrokenRule::Unreadable { source }.refused(&self.path))?;
        if digest == self.digest {
            Ok(())
        } else {
            Err(BrokenRule::Changed.refused(&self.path))
        }
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    fn open_blocking(path: PathBuf) -> Result<Self, Refused> {
        let (file, facts) = open(&path).map_err(|broken| broken.refused(&path))?;
        let digest = sha256(&file, MAX_PROGRAM_BYTES)
            .map_err(|source| BrokenRule::Unreadable { source }.refused(&path))?;
        let refused = |broken: BrokenRule| broken.refused(&path).running([digest.clone()]);
        check_file(facts).map_err(refused)?;
        check_path(&path).map_err(refused)?;
        let linkage =
            Linkage::read(&file).map_err(|source| refused(BrokenRule::NotElf { source }))?;
        check_linkage(&linkage).map_err(refused)?;
        Ok(Self {
            id: facts.id,
            file,
            digest,
            path,
        })
    }
}

/// A rule about a program's file that does not hold.
#[derive(Debug, thiserror::Error)]
enum BrokenRule {
    #[error("there is no such file")]
    NotFound,
    #[error("its path is not absolute")]
    PathNotAbsolute,
    #[error("it cannot be read")]
    Unreadable {
        #[source]
        source: io::Error,
    },
    #[error("it is not a regular file")]
    NotRegular,
    #[error(
        "it is owned by uid {owner} with mode {mode:o}; only root may own and write it: `chown root FILE && chmod 0711 FILE`"
    )]
    Writable { owner: u32, mode: u32 },
    #[error(
        "its mode is {mode:o}: a user that can read it can be debugged by itself; `chmod 0711 FILE`"
    )]
    Readable { mode: u32 },
    #[error("`{}`, on the way to it, can be replaced by somebody but root", path.display())]
    Replaceable { path: PathBuf },
    #[error("it was changed after it was verified")]
    Changed,
    #[error("its mode is {mode:o}, so its user cannot execute it; `chmod 0711 FILE`")]
    NotExecutable { mode: u32 },
    #[error("its mode is {mode:o}: a program that changes its user earns no identity")]
    ChangesUser { mode: u32 },
    #[error(transparent)]
    NotElf { source: InvalidElf },
    #[error("its loader or library `{}` can be changed by somebody but root", path.display())]
    LibraryWritable { path: PathBuf },
    #[error("it looks for libraries in `{}`, which is not an absolute path that only root can change", path.display())]
    SearchWritable { path: PathBuf },
}

impl BrokenRule {
    fn refused(&self, path: &Path) -> Refused {
        Refused::new(
            self.reason(),
            format!("`{}`: {}", path.display(), chain(self)),
        )
    }

    const fn reason(&self) -> Reason {
        match self {
            Self::NotFound => Reason::ArtifactNotFound,
            Self::PathNotAbsolute | Self::NotRegular | Self::NotElf { .. } => {
                Reason::ArtifactMalformed
            }
            Self::Unreadable { .. } => Reason::AttestorFailed,
            Self::Changed => Reason::WorkloadModified,
            Self::Writable { .. }
            | Self::Replaceable { .. }
            | Self::Readable { .. }
            | Self::NotExecutable { .. }
            | Self::ChangesUser { .. }
            | Self::LibraryWritable { .. }
            | Self::SearchWritable { .. } => Reason::WorkloadNotIsolated,
        }
    }
}

fn open(path: &Path) -> Result<(File, FileFacts), BrokenRule> {
    if !path.is_absolute() {
        return Err(BrokenRule::PathNotAbsolute);
    }
    // Not blocking: a pipe in the program's place must not make the agent wait.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            BrokenRule::NotFound
        } else {
            BrokenRule::Unreadable { source }
        }
    })?;
    let facts = FileFacts::of(&file).map_err(|source| BrokenRule::Unreadable { source })?;
    if facts.is_regular() {
        Ok((file, facts))
    } else {
        Err(BrokenRule::NotRegular)
    }
}

fn check_file(facts: FileFacts) -> Result<(), BrokenRule> {
    let mode = facts.permissions();
    if !facts.only_root_writes() {
        return Err(BrokenRule::Writable {
            owner: facts.owner,
            mode,
        });
    }
    if facts.changes_user() {
        return Err(BrokenRule::ChangesUser { mode });
    }
    if facts.others_read() {
        return Err(BrokenRule::Readable { mode });
    }
    if !facts.others_execute() {
        return Err(BrokenRule::NotExecutable { mode });
    }
    Ok(())
}

/// What others can replace is not what the operator named. The way that links lead is judged too.
fn check_path(path: &Path) -> Result<(), BrokenRule> {
    let real = fs::canonicalize(path).map_err(|source| BrokenRule::Unreadable { source })?;
    let held = |step: &Path| FileFacts::of_name(step).is_ok_and(|facts| facts.only_root_replaces());
    match path
        .ancestors()
        .chain(real.ancestors())
        .find(|step| !held(step))
    {
        Some(step) => Err(BrokenRule::Replaceable {
            path: step.to_owned(),
        }),
        None => Ok(()),
    }
}

/// What is loaded from the system's own directories is root's; what the program itself names must be too.
fn check_linkage(linkage: &Linkage) -> Result<(), BrokenRule> {
    let Linkage {
        interpreter,
        libraries,
        search,
    } = linkage;
    let named = libraries
        .iter()
        .filter(|library| library.components().count() > 1);
    for path in interpreter.iter().chain(named) {
        if !path.is_absolute() || !only_root_changes(path) {
            return Err(BrokenRule::LibraryWritable { path: path.clone() });
        }
    }
    match search.iter().find(|path| !only_root_changes(path)) {
        Some(path) => Err(BrokenRule::SearchWritable { path: path.clone() }),
        None => Ok(()),
    }
}

/// Whether only root can change what a path leads to: the path itself and every directory on the way to it. What does not exist only root can make.
fn only_root_changes(path: &Path) -> bool {
    let plain = path.components().all(|component| match component {
        Component::RootDir | Component::Normal(_) => true,
        Component::Prefix(_) | Component::CurDir | Component::ParentDir => false,
    });
    path.is_absolute()
        && plain
        && path.ancestors().all(|step| match FileFacts::at(CWD, step) {
            Ok(facts) => facts.only_root_writes() && (facts.is_regular() || facts.is_directory()),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        })
}

/// 2 GiB: an Envoy with debugging symbols is 1.
const MAX_PROGRAM_BYTES: u64 = 2 * 1024 * 1024 * 1024;

#[cfg(test)]
mod tests;
