//! The artifact about to be served, held against what a rule demands and against what was asked for.

use std::time::SystemTime;

use artifact::reference::{Reference, Repository};
use evidence::digest::Digest;
use policy::reason::Reason;

use super::targets::Demand;
use crate::denial::Denial;
use crate::question::{Fact, TargetArtifact};
use crate::target::{Access, RegistryRequest, Resource, Target};

/// What was asked for and what was learnt of it.
#[derive(Debug)]
pub(super) struct Served<'a> {
    pub(super) asked: Asked<'a>,
    pub(super) artifact: Option<&'a Fact<TargetArtifact>>,
    pub(super) now: SystemTime,
}

/// How the request names the artifact.
#[derive(Debug)]
pub(super) enum Asked<'a> {
    /// It names none.
    Nothing,
    /// By digest: only that digest is served.
    Digest(&'a Digest),
    /// By tag: what it resolved to is served, and the path is rewritten to say so.
    Tag {
        repository: &'a Repository,
        query: Option<&'a str>,
    },
}

impl<'a> Asked<'a> {
    /// How this target names an artifact.
    pub(super) fn of(target: &'a Target) -> Self {
        let (resource, access, query) = match target {
            Target::Service(_) => return Self::Nothing,
            Target::Registry(RegistryRequest {
                resource,
                access,
                query,
                ..
            }) => (resource, *access, query.as_deref()),
        };
        match (resource, access) {
            (
                Resource::Manifest {
                    repository,
                    reference: Reference::Tag(_),
                },
                Access::Read,
            ) => Self::Tag { repository, query },
            (
                Resource::Manifest {
                    reference: Reference::Digest(digest),
                    ..
                }
                | Resource::Blob { digest, .. },
                Access::Read,
            )
            | (Resource::Mount { digest, .. }, _) => Self::Digest(digest),
            (Resource::Manifest { .. } | Resource::Blob { .. }, Access::Write | Access::Delete)
            | (
                Resource::Base
                | Resource::Tags { .. }
                | Resource::Referrers { .. }
                | Resource::Upload { .. },
                _,
            ) => Self::Nothing,
        }
    }
}

impl Served<'_> {
    /// Whether the artifact meets the demand. `None` while nothing is known of it.
    pub(super) fn meets(&self, demand: &Demand<'_>) -> Option<Result<(), Denial>> {
        Some(match self.artifact? {
            Fact::Refused(denial) => Err(denial.clone()),
            Fact::Known(artifact) => self.judge(artifact, demand),
        })
    }

    /// The path by which the proxy must ask in place of a tag: by the digest that was judged.
    pub(super) fn pin(&self) -> Option<String> {
        match (&self.asked, self.artifact?.known()?) {
            (Asked::Tag { repository, query }, TargetArtifact { digest, .. }) => {
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                Some(format!("/v2/{repository}/manifests/{digest}{query}"))
            }
            (Asked::Nothing | Asked::Digest(_), _) => None,
        }
    }

    fn judge(&self, artifact: &TargetArtifact, demand: &Demand<'_>) -> Result<(), Denial> {
        if let Asked::Digest(digest) = self.asked
            && *digest != artifact.digest
        {
            let detail = format!(
                "`{digest}` was asked for and `{}` was verified",
                artifact.digest
            );
            return Err(Denial::new(Reason::ArtifactImageMismatch, detail));
        }
        match demand {
            Demand::Nothing => Ok(()),
            Demand::Meets(requirement) => requirement
                .accepts(&artifact.vouched, self.now)
                .map_err(|unmet| Denial::new(unmet.reason, unmet.detail)),
            // INVARIANT: the compiler refuses a permit of pulls without a requirement.
            Demand::Missing => Err(Denial::new(
                Reason::Internal,
                "the permit demands nothing of the artifact",
            )),
        }
    }
}
