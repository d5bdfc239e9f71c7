//! What belongs to a manifest: everything reachable from it by digest.

use std::{collections::BTreeSet, sync::Arc};

use evidence::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    client::Client,
    limits::{MAX_CHILDREN, PARALLEL},
};
use crate::{
    error::ArtifactError,
    manifest::{IMAGE_TYPES, INDEX_TYPES, Manifest},
    reference::Repository,
};

/// The digests that belong to one manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// The manifest itself and every manifest below it.
    pub manifests: BTreeSet<Digest>,
    /// Configs, layers, and whatever else an index lists.
    pub blobs: BTreeSet<Digest>,
}

impl Members {
    /// Manifests and blobs together: registries serve both under `/blobs/`.
    pub fn all(&self) -> impl Iterator<Item = &Digest> {
        self.manifests.union(&self.blobs)
    }

    /// Takes in what `manifest` refers to; returns the manifests that are new.
    fn take_in(&mut self, manifest: &Manifest) -> BTreeSet<Digest> {
        let mut below = BTreeSet::new();
        for descriptor in manifest.descriptors() {
            let media_type = descriptor.media_type.as_str();
            let is_manifest =
                IMAGE_TYPES.contains(&media_type) || INDEX_TYPES.contains(&media_type);
            if !(matches!(manifest, Manifest::Index(_)) && is_manifest) {
                self.blobs.insert(descriptor.digest.clone());
            } else if !self.manifests.contains(&descriptor.digest) {
                below.insert(descriptor.digest.clone());
            }
        }
        below
    }
}

impl Client {
    /// Walks level by level, so that the number of manifests is bounded whatever their shape.
    pub(super) async fn members(
        &self,
        repository: &Repository,
        root: &Digest,
    ) -> Result<Members, ArtifactError> {
        let mut members = Members {
            manifests: BTreeSet::from([root.clone()]),
            blobs: BTreeSet::new(),
        };
        let mut level = members.take_in(&*self.manifest(repository, root).await?);
        while !level.is_empty() {
            members.manifests.append(&mut level.clone());
            if members.manifests.len() > MAX_CHILDREN {
                let what = format!("the number of manifests below `{repository}@{root}`");
                return Err(ArtifactError::TooLarge {
                    what,
                    limit: MAX_CHILDREN,
                });
            }
            let found = self.present(repository, level).await?;
            level = found
                .iter()
                .flat_map(|manifest| members.take_in(manifest))
                .collect();
        }
        Ok(members)
    }

    /// Those of the manifests that the registry has: an index may list platforms that were never copied.
    async fn present(
        &self,
        repository: &Repository,
        digests: BTreeSet<Digest>,
    ) -> Result<Vec<Arc<Manifest>>, ArtifactError> {
        let fetched: Vec<_> = stream::iter(digests)
            .map(
                async |digest| match self.manifest(repository, &digest).await {
                    Ok(manifest) => Ok(Some(manifest)),
                    Err(error) if error.is_absence() => Ok(None),
                    Err(error) => Err(error),
                },
            )
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        Ok(fetched.into_iter().flatten().collect())
    }
}
