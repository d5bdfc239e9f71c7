//! The OCI distribution grammar, read from the right: where in a registry a path leads.

use artifact::reference::{Reference, Repository};
use evidence::digest::Digest;

use super::super::query::Query;
use super::super::{not_canonical, unknown};
use super::{Access, Resource};
use crate::denial::Denial;

/// Where in a registry a path leads, before its method and query are looked at.
#[derive(Debug)]
pub(super) enum Place {
    Base,
    Manifest(Repository, Reference),
    Blob(Repository, Digest),
    Tags(Repository),
    Referrers(Repository, Digest),
    Uploads(Repository),
    Upload(Repository),
}

impl Place {
    /// Reads what follows `/v2/` from the right: a repository may itself have components `manifests`, `blobs` or `uploads`.
    pub(super) fn of(name: &str) -> Result<Self, Denial> {
        if name.is_empty() {
            return Ok(Self::Base);
        }
        let (rest, last) = name.rsplit_once('/').unwrap_or(("", name));
        if let Some(name) = rest.strip_suffix("/blobs/uploads") {
            return if last.is_empty() {
                repository(name).map(Self::Uploads)
            } else {
                upload(name, last)
            };
        }
        if last.is_empty() {
            return Err(not_canonical("the path of a registry ends in a slash"));
        }
        let (name, kind) = rest.rsplit_once('/').unwrap_or(("", rest));
        match (kind, last) {
            ("manifests", _) => Ok(Self::Manifest(repository(name)?, reference(last)?)),
            ("blobs", _) => Ok(Self::Blob(repository(name)?, digest(last)?)),
            ("referrers", _) => Ok(Self::Referrers(repository(name)?, digest(last)?)),
            ("tags", "list") => repository(name).map(Self::Tags),
            _ => Err(unknown(
                "the path is none of a registry's that rules are about",
            )),
        }
    }

    pub(super) fn access(&self, method: &str) -> Option<Access> {
        match (self, method) {
            (
                Self::Base
                | Self::Manifest(..)
                | Self::Blob(..)
                | Self::Tags(_)
                | Self::Referrers(..),
                "GET" | "HEAD",
            ) => Some(Access::Read),
            (Self::Manifest(..), "PUT")
            | (Self::Uploads(_), "POST")
            | (Self::Upload(_), "GET" | "PATCH" | "PUT" | "DELETE") => Some(Access::Write),
            (Self::Manifest(..) | Self::Blob(..), "DELETE") => Some(Access::Delete),
            _ => None,
        }
    }

    /// The parameters that this place reads. Any other could be one that only the registry knows.
    pub(super) fn parameters(&self, access: Access) -> &'static [&'static str] {
        match (self, access) {
            (Self::Base | Self::Manifest(..) | Self::Blob(..), Access::Read) => &["ns"],
            (Self::Manifest(..), Access::Write) => &["tag"],
            (Self::Tags(_), _) => &["ns", "n", "last"],
            (Self::Referrers(..), _) => &["ns", "artifactType", "n", "last"],
            (Self::Uploads(_), _) => &["mount", "from", "digest", "digest-algorithm"],
            (Self::Upload(_), _) => &["_state", "digest", "digest-algorithm"],
            (Self::Base | Self::Manifest(..) | Self::Blob(..), Access::Write | Access::Delete) => {
                &[]
            }
        }
    }

    pub(super) fn resource(self, query: &Query<'_>) -> Result<Resource, Denial> {
        Ok(match self {
            Self::Base => Resource::Base,
            Self::Manifest(repository, reference) => Resource::Manifest {
                repository,
                reference,
            },
            Self::Blob(repository, digest) => Resource::Blob { repository, digest },
            Self::Tags(repository) => Resource::Tags { repository },
            Self::Referrers(repository, digest) => Resource::Referrers { repository, digest },
            Self::Upload(repository) => Resource::Upload { repository },
            Self::Uploads(repository) => {
                let mount = query.one("mount").map_err(not_canonical)?;
                let from = query.one("from").map_err(not_canonical)?;
                match (mount, from) {
                    (None, None) => Resource::Upload { repository },
                    (Some(mount), Some(from)) => Resource::Mount {
                        repository,
                        from: self::repository(from)?,
                        digest: digest(mount)?,
                    },
                    // The registry would search every repository for the blob.
                    (Some(_), None) => {
                        return Err(unknown(
                            "`mount` without `from` names no repository to read",
                        ));
                    }
                    (None, Some(_)) => return Err(unknown("`from` without `mount` names no blob")),
                }
            }
        })
    }
}

fn repository(name: &str) -> Result<Repository, Denial> {
    Repository::parse(name).map_err(|invalid| unknown(invalid.to_string()))
}

fn reference(text: &str) -> Result<Reference, Denial> {
    Reference::parse(text).map_err(|invalid| unknown(invalid.to_string()))
}

fn digest(text: &str) -> Result<Digest, Denial> {
    Digest::parse(text).map_err(|invalid| unknown(invalid.to_string()))
}

/// The name of an upload under way is the registry's own; only its characters are bounded.
fn upload(name: &str, id: &str) -> Result<Place, Denial> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte);
    if id.len() <= MAX_UPLOAD_BYTES && id.bytes().all(known) {
        repository(name).map(Place::Upload)
    } else {
        Err(unknown(
            "the upload's name has characters that no registry gives",
        ))
    }
}

/// Real registries give a UUID.
const MAX_UPLOAD_BYTES: usize = 512;
