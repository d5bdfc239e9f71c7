//! What a path of a registry names, and what is done to it.

use artifact::reference::{Reference, Repository};
use evidence::digest::Digest;
use serde::{Deserialize, Serialize};

use super::reference_text;

/// The thing that a path under `/v2/` names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// `/v2/`: is this a registry, and may I speak to it.
    Base,
    /// `/v2/NAME/manifests/REFERENCE`.
    Manifest {
        /// The repository.
        repository: Repository,
        /// Tag or digest.
        #[serde(with = "reference_text")]
        reference: Reference,
    },
    /// `/v2/NAME/blobs/DIGEST`.
    Blob {
        /// The repository.
        repository: Repository,
        /// The blob's digest.
        digest: Digest,
    },
    /// `/v2/NAME/tags/list`.
    Tags {
        /// The repository.
        repository: Repository,
    },
    /// `/v2/NAME/referrers/DIGEST`.
    Referrers {
        /// The repository.
        repository: Repository,
        /// What is referred to.
        digest: Digest,
    },
    /// `/v2/NAME/blobs/uploads/` and what the registry makes below it.
    Upload {
        /// The repository.
        repository: Repository,
    },
    /// `POST /v2/NAME/blobs/uploads/?mount=DIGEST&from=OTHER`: a write here and a read there.
    Mount {
        /// The repository written to.
        repository: Repository,
        /// The repository read from.
        from: Repository,
        /// The blob.
        digest: Digest,
    },
}

impl Resource {
    /// The repository acted on.
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Base => None,
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Tags { repository }
            | Self::Referrers { repository, .. }
            | Self::Upload { repository }
            | Self::Mount { repository, .. } => Some(repository),
        }
    }
}

/// What is done to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// GET or HEAD, with or without a range.
    Read,
    /// POST, PUT or PATCH, and everything that is done to an upload.
    Write,
    /// DELETE.
    Delete,
}
