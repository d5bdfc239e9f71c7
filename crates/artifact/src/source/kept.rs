//! Evidence that once verified, kept on disk: what a registry loses or hides later is not lost here.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use evidence::{Digest, Evidence};
use serde::{Deserialize, Serialize};

use crate::{durable, reference::Repository};

/// A directory with one file for each digest of a repository. Its content is verified again whenever it is used.
#[derive(Clone, Debug)]
pub struct KeptEvidence {
    directory: PathBuf,
}

/// Why evidence was not kept, or not read back.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file could not be read or written.
    #[error("`{}` could not be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file does not hold evidence.
    #[error("`{}` does not hold evidence", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it stops doing so.
        #[source]
        source: serde_json::Error,
    },
    /// The directory holds as many files as it may.
    #[error("`{}` holds {MAX_KEPT} files already", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
    },
}

/// The most digests that evidence is kept for: about 40 MB at 4 KiB each.
pub const MAX_KEPT: usize = 10_000;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    host: String,
    repository: Repository,
    digest: Digest,
    evidence: Vec<Evidence>,
}

impl KeptEvidence {
    /// Uses `directory`, which is made if it does not exist.
    ///
    /// # Errors
    /// [`KeptError::Io`] if it cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, KeptError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(|source| KeptError::Io {
            path: directory.clone(),
            source,
        })?;
        Ok(Self { directory })
    }

    /// What is kept for a digest in a repository. Blocking.
    ///
    /// # Errors
    /// [`KeptError`] if there is a file and it does not read.
    pub fn load(
        &self,
        host: &str,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Vec<Evidence>, KeptError> {
        let path = self.path_of(host, repository, digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(KeptError::Io { path, source }),
        };
        let kept: Kept =
            serde_json::from_slice(&bytes).map_err(|source| KeptError::Json { path, source })?;
        let same = kept.host == host && kept.repository == *repository && kept.digest == *digest;
        Ok(if same { kept.evidence } else { Vec::new() })
    }

    /// Keeps evidence for a digest in a repository, in place of what was kept before. Blocking.
    ///
    /// # Errors
    /// [`KeptError`]; what was kept before is then still there.
    pub fn store(
        &self,
        host: &str,
        repository: &Repository,
        digest: &Digest,
        evidence: &[Evidence],
    ) -> Result<(), KeptError> {
        let path = self.path_of(host, repository, digest);
        if !path.exists() && self.count() >= MAX_KEPT {
            return Err(KeptError::Full {
                path: self.directory.clone(),
            });
        }
        let kept = Kept {
            host: host.to_owned(),
            repository: repository.clone(),
            digest: digest.clone(),
            evidence: evidence.to_vec(),
        };
        let bytes = serde_json::to_vec(&kept).map_err(|source| KeptError::Json {
            path: path.clone(),
            source,
        })?;
        durable::replace(&path, &bytes).map_err(|source| KeptError::Io { path, source })
    }

    /// Where it is kept.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// One flat name for all three parts of the key; a hash, since a repository's name may hold slashes.
    fn path_of(&self, host: &str, repository: &Repository, digest: &Digest) -> PathBuf {
        let name = Digest::sha256_of(format!("{host}\n{repository}\n{digest}").as_bytes());
        self.directory.join(format!("{}.json", name.hex()))
    }

    fn count(&self) -> usize {
        fs::read_dir(&self.directory).map_or(0, Iterator::count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(byte: u8) -> Vec<Evidence> {
        vec![Evidence::SigstoreBundle { json: vec![byte] }]
    }

    #[test]
    fn evidence_is_kept_by_host_repository_and_digest() {
        let directory = tempfile::tempdir().unwrap();
        let kept = KeptEvidence::open(directory.path().join("evidence")).unwrap();
        let (repository, other) = (
            Repository::parse("a/b").unwrap(),
            Repository::parse("a/c").unwrap(),
        );
        let digest = Digest::sha256_of(b"image");
        assert!(kept.load("h", &repository, &digest).unwrap().is_empty());
        kept.store("h", &repository, &digest, &piece(1)).unwrap();
        kept.store("h", &repository, &digest, &piece(2)).unwrap();
        let again = KeptEvidence::open(kept.directory()).unwrap();
        assert_eq!(again.load("h", &repository, &digest).unwrap(), piece(2));
        assert!(again.load("g", &repository, &digest).unwrap().is_empty());
        assert!(again.load("h", &other, &digest).unwrap().is_empty());
        assert!(
            again
                .load("h", &repository, &Digest::sha256_of(b""))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_file_that_does_not_read_is_an_error_and_not_absence() {
        let directory = tempfile::tempdir().unwrap();
        let kept = KeptEvidence::open(directory.path()).unwrap();
        let (repository, digest) = (Repository::parse("a").unwrap(), Digest::sha256_of(b"image"));
        fs::write(kept.path_of("h", &repository, &digest), b"{").unwrap();
        assert!(matches!(
            kept.load("h", &repository, &digest),
            Err(KeptError::Json { .. })
        ));
    }
}
