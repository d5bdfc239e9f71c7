//! Evidence from directories that only root can write.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use evidence::{
    Digest, Evidence, MAX_EVIDENCE_BYTES, MAX_EVIDENCE_PIECES, MAX_EVIDENCE_TOTAL_BYTES,
};

#[cfg(test)]
mod tests;

/// Directories whose files are evidence, found by digest: `<dir>/sha256-<hex>.*.json` or `<dir>/sha256/<hex>/*.json`.
///
/// Each file and every directory on its way must belong to root and be writable by nobody else. Evidence needs no such guard to be
/// believed; this one keeps others from flooding or hiding it.
#[derive(Clone, Debug)]
pub struct DirectorySource {
    directories: Vec<PathBuf>,
    owner: u32,
}

/// Why a directory's evidence could not be read. Never means "no evidence".
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Somebody other than root could have written it.
    #[error("`{}` is not owned by root, or others may write to it", path.display())]
    NotOurs {
        /// The file or directory.
        path: PathBuf,
    },
    /// There are more files than we look at.
    #[error("`{}` holds more than {limit} files", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The file is larger than any evidence.
    #[error("`{}` is larger than {MAX_EVIDENCE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// All the files of one digest together are larger than what may be told of it.
    #[error("the evidence of `{digest}` is larger than {MAX_EVIDENCE_TOTAL_BYTES} bytes")]
    TooLargeTogether {
        /// The digest.
        digest: Digest,
    },
    /// It could not be read.
    #[error("`{}` could not be read", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// The most files of one digest: no more could be told of it.
pub const MAX_FILES: usize = MAX_EVIDENCE_PIECES;

/// The most files of one directory, whatever they are.
pub const MAX_ENTRIES: usize = 16_384;

const ROOT: u32 = 0;

/// Group and others may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Only an entry's owner may rename or remove it.
const STICKY: u32 = 0o1000;

impl DirectorySource {
    /// Names the directories; they are looked at on each call, so files may come and go. One that does not exist holds nothing.
    pub fn new(directories: Vec<PathBuf>) -> Self {
        Self {
            directories,
            owner: ROOT,
        }
    }

    /// Every file of evidence about `digest`. Blocking, but short.
    ///
    /// A file that reads as no form of evidence is handed on all the same, so that verifying it names the cause.
    ///
    /// # Errors
    /// [`SourceError`] if a directory or a file is not root's alone, is too much, or cannot be read.
    pub fn evidence(&self, digest: &Digest) -> Result<Vec<Evidence>, SourceError> {
        let mut paths = Vec::new();
        for directory in &self.directories {
            paths.extend(self.flat(directory, digest)?);
            paths.extend(self.nested(directory, digest)?);
        }
        paths.sort();
        if let Some(path) = paths.get(MAX_FILES) {
            return Err(SourceError::TooMany {
                path: path.clone(),
                limit: MAX_FILES,
            });
        }
        let evidence: Vec<Evidence> = paths
            .iter()
            .map(|path| self.read(path))
            .collect::<Result<_, _>>()?;
        let bytes: usize = evidence.iter().map(Evidence::size).sum();
        if bytes > MAX_EVIDENCE_TOTAL_BYTES {
            return Err(SourceError::TooLargeTogether {
                digest: digest.clone(),
            });
        }
        Ok(evidence)
    }

    fn flat(&self, directory: &Path, digest: &Digest) -> Result<Vec<PathBuf>, SourceError> {
        let prefix = format!("{}-{}.", digest.algorithm().name(), digest.hex());
        let paths = self.json_files(directory)?;
        let is_about = |path: &PathBuf| name_of(path).starts_with(&prefix);
        Ok(paths.into_iter().filter(is_about).collect())
    }

    fn nested(&self, directory: &Path, digest: &Digest) -> Result<Vec<PathBuf>, SourceError> {
        self.json_files(&directory.join(digest.algorithm().name()).join(digest.hex()))
    }

    fn json_files(&self, directory: &Path) -> Result<Vec<PathBuf>, SourceError> {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(SourceError::Io {
                    path: directory.to_owned(),
                    source,
                });
            }
        };
        self.check_way(directory)?;
        let mut paths = Vec::new();
        for (index, entry) in entries.enumerate() {
            if index >= MAX_ENTRIES {
                return Err(SourceError::TooMany {
                    path: directory.to_owned(),
                    limit: MAX_ENTRIES,
                });
            }
            let entry = entry.map_err(|source| SourceError::Io {
                path: directory.to_owned(),
                source,
            })?;
            paths.push(entry.path());
        }
        paths.retain(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        });
        Ok(paths)
    }

    /// The directory and all above it: whoever may rename one of these decides what we read.
    fn check_way(&self, directory: &Path) -> Result<(), SourceError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |source| SourceError::Io { path, source }
        };
        let real = directory.canonicalize().map_err(io_error(directory))?;
        for (depth, path) in real.ancestors().enumerate() {
            let metadata = fs::metadata(path).map_err(io_error(path))?;
            let guarded = depth > 0 && metadata.mode() & STICKY != 0;
            if !(self.is_ours(&metadata) || guarded && self.is_owned(&metadata)) {
                return Err(SourceError::NotOurs {
                    path: path.to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Opened once, without following a link: what is checked is what is read.
    fn read(&self, path: &Path) -> Result<Evidence, SourceError> {
        let io_error = |source| SourceError::Io {
            path: path.to_owned(),
            source,
        };
        let file = open(path).map_err(io_error)?;
        let metadata = file.metadata().map_err(io_error)?;
        if !metadata.is_file() || !self.is_ours(&metadata) {
            return Err(SourceError::NotOurs {
                path: path.to_owned(),
            });
        }
        let limit = u64::try_from(MAX_EVIDENCE_BYTES).unwrap_or(u64::MAX);
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(io_error)?;
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(SourceError::TooLarge {
                path: path.to_owned(),
            });
        }
        Ok(Evidence::from_json(&bytes).unwrap_or(Evidence::Dsse { envelope: bytes }))
    }

    fn is_ours(&self, metadata: &Metadata) -> bool {
        self.is_owned(metadata) && metadata.mode() & WRITABLE_BY_OTHERS == 0
    }

    fn is_owned(&self, metadata: &Metadata) -> bool {
        metadata.uid() == ROOT || metadata.uid() == self.owner
    }
}

fn name_of(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
}
