//! The executable of a running process, opened once.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use aws_lc_rs::digest::{Context, SHA256};
use evidence::digest::Digest;

use super::file::{FileFacts, FileId};

/// The file a process ran when it was looked at. The descriptor keeps the inode from being used for another file.
#[derive(Debug)]
pub struct Executable {
    facts: FileFacts,
    descriptor: OwnedFd,
}

impl Executable {
    /// Takes a descriptor that was opened through `/proc/PID/exe`; `O_PATH` is enough.
    pub(super) fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            facts: FileFacts::of(&descriptor)?,
            descriptor,
        })
    }

    /// Which file it is.
    pub const fn id(&self) -> FileId {
        self.facts.id
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            facts: self.facts,
            descriptor: self.descriptor.try_clone()?,
        })
    }

    pub(super) const fn facts(&self) -> FileFacts {
        self.facts
    }

    /// Opens the very file for reading, by its descriptor.
    pub(super) fn reader(&self) -> io::Result<File> {
        if !self.facts.is_regular() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the executable is not a regular file",
            ));
        }
        File::open(format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()))
    }
}

/// Hashes a file from its beginning to its end, wherever its descriptor stands. Blocks.
///
/// # Errors
/// `FileTooLarge` past `limit` bytes, or what reading gave.
pub(super) fn sha256(file: &File, limit: u64) -> io::Result<Digest> {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut total: u64 = 0;
    loop {
        let length = match file.read_at(&mut buffer, total) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(read) = buffer.get(..length).filter(|read| !read.is_empty()) else {
            break;
        };
        context.update(read);
        total = total.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        if total > limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the file is larger than {limit} bytes"),
            ));
        }
    }
    let hash = <[u8; 32]>::try_from(context.finish().as_ref())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(Digest::sha256(hash))
}

/// 256 KiB: larger reads hash no faster.
const BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn file_hashes_to_the_digest_of_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = vec![7; BUFFER_BYTES + 3];
        fs::write(directory.path().join("file"), &bytes).unwrap();
        let file = File::open(directory.path().join("file")).unwrap();
        assert_eq!(
            sha256(&file, u64::MAX - 1).unwrap(),
            Digest::sha256_of(&bytes)
        );
    }

    #[test]
    fn file_past_the_limit_is_not_hashed() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), b"12345").unwrap();
        assert!(sha256(&File::open(directory.path().join("file")).unwrap(), 5).is_ok());
        let error = sha256(&File::open(directory.path().join("file")).unwrap(), 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
