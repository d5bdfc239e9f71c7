//! What the kernel says of a file: which one it is, whose, and who may write or read it.

use std::{io, os::fd::AsFd, path::Path};

use rustix::fs::{AtFlags, FileType, Statx, StatxFlags, makedev, statx};

/// Which file it is: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
}

/// One file's identity, owner, permissions and size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileFacts {
    pub(super) id: FileId,
    pub(super) owner: u32,
    pub(super) size: u64,
    pub(super) changed: (i64, u32),
    mode: u32,
}

impl FileFacts {
    /// Reads the facts of an open file.
    pub(super) fn of(file: impl AsFd) -> io::Result<Self> {
        Self::statx(file, Path::new(""), AtFlags::EMPTY_PATH)
    }

    /// Reads the facts of the file a path leads to; links are followed.
    pub(super) fn at(directory: impl AsFd, path: impl AsRef<Path>) -> io::Result<Self> {
        Self::statx(directory, path.as_ref(), AtFlags::empty())
    }

    /// Reads the facts of what a path names itself, a link or not.
    pub(super) fn of_name(path: &Path) -> io::Result<Self> {
        Self::statx(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW)
    }

    // A file system served by the one who is looked at must not make the agent wait: the cached answer will do.
    fn statx(directory: impl AsFd, path: &Path, flags: AtFlags) -> io::Result<Self> {
        let found = statx(
            directory,
            path,
            flags | AtFlags::STATX_DONT_SYNC,
            StatxFlags::BASIC_STATS,
        )?;
        Ok(Self::from(found))
    }

    /// Whether it is an ordinary file.
    pub(super) fn is_regular(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Whether only root can change it. An access control list that lets others write shows in the group's bits.
    pub(super) const fn only_root_writes(&self) -> bool {
        self.owner == 0 && self.mode & GROUP_OR_OTHERS_WRITE == 0
    }

    /// Whether only root can put something else in the place of what it names. In a directory with the sticky bit others cannot move what is root's,
    /// and a link cannot be written, only moved.
    pub(super) fn only_root_replaces(&self) -> bool {
        let held = match self.kind() {
            FileType::Symlink => true,
            FileType::Directory => {
                self.mode & STICKY != 0 || self.mode & GROUP_OR_OTHERS_WRITE == 0
            }
            FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => self.mode & GROUP_OR_OTHERS_WRITE == 0,
        };
        self.owner == 0 && held
    }

    /// Whether somebody but its owner can read it.
    pub(super) const fn others_read(&self) -> bool {
        self.mode & GROUP_OR_OTHERS_READ != 0
    }

    /// Whether everybody can execute it.
    pub(super) const fn others_execute(&self) -> bool {
        self.mode & OTHERS_EXECUTE != 0
    }

    /// Whether it would change who executes it.
    pub(super) const fn changes_user(&self) -> bool {
        self.mode & SET_USER_OR_GROUP != 0
    }

    /// The permission bits, as `chmod` takes them.
    pub(super) const fn permissions(&self) -> u32 {
        self.mode & 0o7777
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }
}

impl From<Statx> for FileFacts {
    fn from(found: Statx) -> Self {
        let id = FileId {
            device: makedev(found.stx_dev_major, found.stx_dev_minor),
            inode: found.stx_ino,
        };
        let changed = (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec);
        Self {
            id,
            owner: found.stx_uid,
            size: found.stx_size,
            changed,
            mode: u32::from(found.stx_mode),
        }
    }
}

const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
const GROUP_OR_OTHERS_READ: u32 = 0o044;
const OTHERS_EXECUTE: u32 = 0o001;
const SET_USER_OR_GROUP: u32 = 0o6000;
const STICKY: u32 = 0o1000;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn facts_follow_the_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"12345").unwrap();
        for (mode, writes, reads, executes) in [
            (0o711, true, false, true),
            (0o755, true, true, true),
            (0o731, false, false, true),
            (0o702, false, false, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let facts = FileFacts::of(fs::File::open(&path).unwrap()).unwrap();
            assert_eq!(
                facts.only_root_writes(),
                writes && facts.owner == 0,
                "{mode:o}"
            );
            assert_eq!(
                (facts.others_read(), facts.others_execute()),
                (reads, executes),
                "{mode:o}"
            );
            assert_eq!(
                (facts.permissions(), facts.size, facts.is_regular()),
                (mode, 5, true)
            );
        }
    }

    #[test]
    fn same_file_has_same_id_by_path_and_by_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"x").unwrap();
        let by_path = FileFacts::at(rustix::fs::CWD, &path).unwrap();
        assert_eq!(
            by_path.id,
            FileFacts::of(fs::File::open(&path).unwrap()).unwrap().id
        );
        fs::copy(&path, directory.path().join("copy")).unwrap();
        assert_ne!(
            by_path.id,
            FileFacts::at(rustix::fs::CWD, directory.path().join("copy"))
                .unwrap()
                .id
        );
    }
}
