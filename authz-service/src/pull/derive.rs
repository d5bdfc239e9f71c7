//! A repository's closures, derived again from its tags: after a restart, on another replica, under a new policy.

use std::sync::Arc;
use std::time::Duration;

use artifact::registry::limits::PARALLEL;
use artifact::{ArtifactError, Closure, ClosureKey, Reference, Tag};
use evidence::Digest;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

use super::work::{Pull, Work};

impl Work {
    /// Looks at every tag of the repository, within bounds, and remembers what belongs to signed manifests.
    ///
    /// Done once however many ask, and to the end although they leave: the next to ask finds it done.
    pub(super) async fn derive(&self, pull: &Pull, wanted: &Digest) -> Result<(), ArtifactError> {
        let key = &pull.key;
        let turn = Arc::clone(self.deriving.lock().entry(key.clone()).or_default());
        let derived = {
            let _turn = turn.lock().await;
            match self.closures.admits(key, wanted) {
                Closure::Inside(_) | Closure::Outside => Ok(()),
                Closure::Unknown => self.derive_all(pull).await,
            }
        };
        let mut deriving = self.deriving.lock();
        // The map's and ours: nobody waits for this turn.
        if Arc::strong_count(&turn) <= 2 {
            deriving.remove(key);
        }
        derived
    }

    async fn derive_all(&self, pull: &Pull) -> Result<(), ArtifactError> {
        let key = &pull.key;
        let ends = Instant::now() + DERIVATION;
        let tags = match self.registries.tags(&key.host, &key.repository).await {
            Ok(tags) => tags,
            // A repository without tags holds nothing that was verified.
            Err(ArtifactError::NotFound { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        stream::iter(tags)
            .map(Ok)
            .try_for_each_concurrent(PARALLEL, |tag| self.derive_tag(pull, tag, ends))
            .await?;
        self.closures.derived(key);
        Ok(())
    }

    async fn derive_tag(&self, pull: &Pull, tag: Tag, ends: Instant) -> Result<(), ArtifactError> {
        let Err(error) = self.signed(pull, tag, ends).await else {
            return Ok(());
        };
        match error {
            // What is gone, or no manifest at all, holds nothing that was verified.
            ArtifactError::NotFound { .. }
            | ArtifactError::Malformed { .. }
            | ArtifactError::DigestMismatch { .. }
            | ArtifactError::TooLarge { .. } => Ok(()),
            ArtifactError::NotConfigured { .. }
            | ArtifactError::Unreachable { .. }
            | ArtifactError::Answered { .. }
            | ArtifactError::Accept
            | ArtifactError::Deadline { .. }
            | ArtifactError::Overloaded
            | ArtifactError::Interrupted => Err(error),
        }
    }

    async fn signed(&self, pull: &Pull, tag: Tag, ends: Instant) -> Result<(), ArtifactError> {
        let ClosureKey {
            host, repository, ..
        } = &pull.key;
        let reference = Reference::Tag(tag);
        let digest = self
            .registries
            .resolve(host, repository, &reference, &every_type())
            .await?
            .digest;
        let vouched = self.vouch(pull, &digest, ends).await?;
        if !vouched.signatures.is_empty() {
            let members = self.members(pull, &digest).await?;
            self.closures.remember(&pull.key, &digest, members);
        }
        Ok(())
    }
}

/// Every kind of manifest that we read.
fn every_type() -> Vec<String> {
    let types = artifact::manifest::INDEX_TYPES
        .into_iter()
        .chain(artifact::manifest::IMAGE_TYPES);
    types.map(str::to_owned).collect()
}

/// 10 s // for all tags of one repository; a client that tries again after `retry-after` finds it done.
const DERIVATION: Duration = Duration::from_secs(10);
