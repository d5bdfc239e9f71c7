//! The file that closures are kept in.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use evidence::Digest;
use serde::{Deserialize, Serialize};

use super::ClosureKey;
use crate::{durable, reference::Repository};

/// One verified manifest and what belongs to it.
pub(super) type Entry = (ClosureKey, Digest, BTreeSet<Digest>);

/// Why closures were not read or written.
#[derive(Debug, thiserror::Error)]
pub enum ClosureFileError {
    /// The file could not be read or written.
    #[error("`{}` could not be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file does not hold closures.
    #[error("`{}` does not hold closures", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it stops doing so.
        #[source]
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    host: String,
    repository: Repository,
    policy_hash: String,
    manifest: Digest,
    members: BTreeSet<Digest>,
}

/// Reads every entry; a file that is not there has none.
pub(super) fn load(path: &Path) -> Result<Vec<Entry>, ClosureFileError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(ClosureFileError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let json_error = |source| ClosureFileError::Json {
        path: path.to_owned(),
        source,
    };
    let lines: Vec<Line> = serde_json::from_slice(&bytes).map_err(json_error)?;
    let entry = |line| {
        let Line {
            host,
            repository,
            policy_hash,
            manifest,
            members,
        } = line;
        (
            ClosureKey {
                host,
                repository,
                policy_hash,
            },
            manifest,
            members,
        )
    };
    Ok(lines.into_iter().map(entry).collect())
}

/// Replaces the file: a crash leaves the old one or the new one.
pub(super) fn store(path: &Path, entries: &[Entry]) -> Result<(), ClosureFileError> {
    let line = |(key, manifest, members): &Entry| Line {
        host: key.host.clone(),
        repository: key.repository.clone(),
        policy_hash: key.policy_hash.clone(),
        manifest: manifest.clone(),
        members: members.clone(),
    };
    let lines: Vec<_> = entries.iter().map(line).collect();
    let bytes = serde_json::to_vec(&lines).map_err(|source| ClosureFileError::Json {
        path: path.to_owned(),
        source,
    })?;
    durable::replace(path, &bytes).map_err(|source| ClosureFileError::Io {
        path: path.to_owned(),
        source,
    })
}
