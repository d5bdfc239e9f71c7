//! Owns what survives a restart: the last bytes of one kind that were good.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

use crate::atomic_file;

/// Permissions of what is kept: only we read it.
const MODE: u32 = 0o600;

/// One file that holds the last good bytes. The caller says what good is, and checks again what it loads.
#[derive(Debug, Clone)]
pub struct LastGood {
    path: PathBuf,
    max_bytes: u64,
}

impl LastGood {
    /// Keeps at most `max_bytes` in the file `path`.
    pub fn new(path: impl Into<PathBuf>, max_bytes: u64) -> Self {
        Self {
            path: path.into(),
            max_bytes,
        }
    }

    /// Where the bytes are kept.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces what is kept.
    ///
    /// # Errors
    /// The bytes are too many, or could not be written; what was kept is still there.
    pub fn store(&self, bytes: &[u8]) -> Result<(), LastGoodError> {
        if u64::try_from(bytes.len()).map_or(true, |length| length > self.max_bytes) {
            return Err(LastGoodError::TooLarge {
                path: self.path.clone(),
            });
        }
        atomic_file::write(&self.path, bytes, MODE).map_err(|source| LastGoodError::Write {
            path: self.path.clone(),
            source,
        })
    }

    /// What is kept, or nothing if nothing ever was.
    ///
    /// # Errors
    /// The file could not be read, is too large, or somebody else could have written it.
    pub fn load(&self) -> Result<Option<Vec<u8>>, LastGoodError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.read_failed(source)),
        };
        let metadata = file.metadata().map_err(|source| self.read_failed(source))?;
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(LastGoodError::NotOurs {
                path: self.path.clone(),
            });
        }
        if metadata.len() > self.max_bytes {
            return Err(LastGoodError::TooLarge {
                path: self.path.clone(),
            });
        }
        let mut bytes = Vec::new();
        file.take(self.max_bytes)
            .read_to_end(&mut bytes)
            .map_err(|source| self.read_failed(source))?;
        Ok(Some(bytes))
    }

    fn read_failed(&self, source: io::Error) -> LastGoodError {
        LastGoodError::Read {
            path: self.path.clone(),
            source,
        }
    }
}

/// The last good bytes could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The file could not be written.
    #[error("last good state could not be written to `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The file could not be read.
    #[error("last good state could not be read from `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// The file belongs to another user, or others may write it.
    #[error("last good state in `{}` may have been written by another user", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// There are more bytes than may be kept.
    #[error("last good state is too large for `{}`", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn kept() -> (tempfile::TempDir, LastGood) {
        let directory = tempfile::tempdir().unwrap();
        let last_good = LastGood::new(directory.path().join("policy"), 8);
        (directory, last_good)
    }

    #[test]
    fn stored_bytes_are_loaded() {
        let (_directory, last_good) = kept();
        last_good.store(b"bytes").unwrap();
        assert_eq!(last_good.load().unwrap().unwrap(), b"bytes");
    }

    #[test]
    fn nothing_stored_is_nothing() {
        let (_directory, last_good) = kept();
        assert!(last_good.load().unwrap().is_none());
    }

    #[test]
    fn too_many_bytes_are_refused_and_the_old_ones_stay() {
        let (_directory, last_good) = kept();
        last_good.store(b"bytes").unwrap();
        assert!(matches!(
            last_good.store(b"123456789"),
            Err(LastGoodError::TooLarge { .. })
        ));
        assert_eq!(last_good.load().unwrap().unwrap(), b"bytes");
    }

    #[test]
    fn file_that_grew_is_too_large() {
        let (_directory, last_good) = kept();
        last_good.store(b"bytes").unwrap();
        fs::write(last_good.path(), b"123456789").unwrap();
        assert!(matches!(
            last_good.load(),
            Err(LastGoodError::TooLarge { .. })
        ));
    }

    #[test]
    fn file_that_others_may_write_is_not_ours() {
        let (_directory, last_good) = kept();
        last_good.store(b"bytes").unwrap();
        fs::set_permissions(last_good.path(), fs::Permissions::from_mode(0o622)).unwrap();
        assert!(matches!(
            last_good.load(),
            Err(LastGoodError::NotOurs { .. })
        ));
    }

    #[test]
    fn directory_in_the_way_is_an_error() {
        let (_directory, last_good) = kept();
        fs::create_dir(last_good.path()).unwrap();
        fs::set_permissions(last_good.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert!(matches!(
            last_good.store(b"x"),
            Err(LastGoodError::Write { .. })
        ));
        assert!(last_good.load().is_err());
    }
}
