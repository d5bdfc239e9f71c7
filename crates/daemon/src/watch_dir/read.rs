//! Owns one reading of a directory: every file below it, within limits, as of one generation.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;

/// The link by which a mounted volume swaps all of its files at once.
const DATA_LINK: &str = "..data";

/// How much of a directory is read before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most files.
    pub files: usize,
    /// Most bytes of all files together.
    pub bytes: u64,
    /// Most directories below each other; 0 is the directory alone.
    pub depth: usize,
}

impl Default for Limits {
    /// Room for a policy of a thousand files and 16 MiB, four directories deep.
    fn default() -> Self {
        Self {
            files: 1000,
            bytes: 16 << 20,
            depth: 4,
        }
    }
}

/// The files of a directory: relative path with `/`, and bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    files: BTreeMap<String, Vec<u8>>,
    hash: [u8; 32],
}

impl Contents {
    fn new(files: BTreeMap<String, Vec<u8>>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for (path, bytes) in &files {
            // Lengths go in, so that no two directories read the same.
            update_with_length(&mut context, path.as_bytes());
            update_with_length(&mut context, bytes);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        Self { files, hash }
    }

    /// The files by relative path.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// The files by relative path, for keeps.
    pub fn into_files(self) -> BTreeMap<String, Vec<u8>> {
        self.files
    }

    /// SHA-256 over every path and every byte.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }
}

/// A directory could not be read within its limits.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The system refuses.
    #[error("`{}` could not be read", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
    /// There are more files than the limit.
    #[error("`{}` has more than {limit} files", path.display())]
    TooManyFiles {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// There are more bytes than the limit.
    #[error("`{}` has more than {limit} bytes in its files", path.display())]
    TooManyBytes {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The directories are deeper than the limit.
    #[error("`{}` is more than {limit} directories deep", path.display())]
    TooDeep {
        /// The directory that was not entered.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// A name is not UTF-8, so no message could show it.
    #[error("`{}` is not named in UTF-8", path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// A link leads out of the directory.
    #[error("`{}` leads out of the directory", path.display())]
    LeadsOut {
        /// The link.
        path: PathBuf,
    },
    /// It is neither a file nor a directory.
    #[error("`{}` is neither a file nor a directory", path.display())]
    NotAFile {
        /// What it is called.
        path: PathBuf,
    },
    /// The program is stopping.
    #[error("the reading of `{}` was interrupted", path.display())]
    Interrupted {
        /// The directory.
        path: PathBuf,
    },
}

/// Reads every file below `path`. Names that begin with a dot are skipped.
pub(super) fn read(path: &Path, limits: Limits) -> Result<Contents, DirectoryError> {
    let mut reading = Reading {
        root: canonical(path)?,
        limits,
        files: BTreeMap::new(),
        bytes: 0,
    };
    // Resolved once: all files are then of one generation, whatever is swapped meanwhile.
    let data = reading.root.join(DATA_LINK);
    let start = if data.is_symlink() {
        reading.inside(&data)?
    } else {
        reading.root.clone()
    };
    reading.directory(&start, "", 0)?;
    Ok(Contents::new(reading.files))
}

struct Reading {
    root: PathBuf,
    limits: Limits,
    files: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

impl Reading {
    fn directory(
        &mut self,
        directory: &Path,
        prefix: &str,
        depth: usize,
    ) -> Result<(), DirectoryError> {
        if depth > self.limits.depth {
            return Err(DirectoryError::TooDeep {
                path: directory.to_owned(),
                limit: self.limits.depth,
            });
        }
        for entry in fs::read_dir(directory).map_err(|source| failed(directory, source))? {
            let path = entry.map_err(|source| failed(directory, source))?.path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .ok_or_else(|| DirectoryError::Name { path: path.clone() })?;
            if name.starts_with('.') {
                continue;
            }
            self.entry(&path, format!("{prefix}{name}"), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, relative: String, depth: usize) -> Result<(), DirectoryError> {
        let resolved = if path.is_symlink() {
            self.inside(path)?
        } else {
            path.to_owned()
        };
        let kind = fs::symlink_metadata(&resolved).map_err(|source| failed(path, source))?;
        if kind.is_dir() {
            self.directory(&resolved, &format!("{relative}/"), depth.saturating_add(1))
        } else if kind.is_file() {
            self.file(&resolved, relative)
        } else {
            Err(DirectoryError::NotAFile {
                path: path.to_owned(),
            })
        }
    }

    fn file(&mut self, path: &Path, relative: String) -> Result<(), DirectoryError> {
        if self.files.len() >= self.limits.files {
            return Err(DirectoryError::TooManyFiles {
                path: self.root.clone(),
                limit: self.limits.files,
            });
        }
        let too_many_bytes = || DirectoryError::TooManyBytes {
            path: self.root.clone(),
            limit: self.limits.bytes,
        };
        let left = self.limits.bytes.saturating_sub(self.bytes);
        let mut bytes = Vec::new();
        let read = File::open(path)
            // One byte more than is left shows that there are too many.
            .and_then(|file| file.take(left.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|source| failed(path, source))?;
        let read = u64::try_from(read).map_err(|_too_large| too_many_bytes())?;
        if read > left {
            return Err(too_many_bytes());
        }
        self.bytes = self.bytes.saturating_add(read);
        self.files.insert(relative, bytes);
        Ok(())
    }

    /// Where the link `path` leads, if that is below the root.
    fn inside(&self, path: &Path) -> Result<PathBuf, DirectoryError> {
        let resolved = canonical(path)?;
        if resolved.starts_with(&self.root) {
            Ok(resolved)
        } else {
            Err(DirectoryError::LeadsOut {
                path: path.to_owned(),
            })
        }
    }
}

fn canonical(path: &Path) -> Result<PathBuf, DirectoryError> {
    fs::canonicalize(path).map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Read {
        path: path.to_owned(),
        source,
    }
}

fn update_with_length(context: &mut digest::Context, bytes: &[u8]) {
    context.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(bytes);
}
