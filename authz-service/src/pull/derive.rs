//! A repository's closures, derived again from its tags: after a restart, on another replica, under a new policy.

use std::sync::Arc;
use std::time::Duration;

use artifact::registry::limits::PARALLEL;
use artifact::{ArtifactError, Closure, ClosureKey, Reference, Tag, TagList};
use evidence::Digest;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::work::{Pull, Work};

/// One derivation of a repository at a time, and what the last one came to.
pub(super) type Turn = Arc<tokio::sync::Mutex<Option<Derived>>>;

/// How a derivation ended.
#[derive(Clone, Debug)]
pub(super) struct Derived {
    at: Instant,
    outcome: Result<(), ArtifactError>,
}

impl Work {
    /// Looks at every tag of the repository, within bounds, and remembers what belongs to signed manifests.
    ///
    /// Done once however many ask, and to the end although they leave: the next to ask finds it done. An error is what could not be
    /// looked at; all the rest was.
    pub(super) async fn derive(&self, pull: &Pull, wanted: &Digest) -> Result<(), ArtifactError> {
        let key = &pull.key;
        let asked = Instant::now();
        let turn = self.turn(key);
        let mut last = turn.lock().await;
        match self.closures.admits(key, wanted) {
            Closure::Inside(_) | Closure::Outside => return Ok(()),
            Closure::Unknown => {}
        }
        if let Some(last) = last
            .as_ref()
            .filter(|last| last.at >= asked || last.is_recent())
        {
            return last.outcome.clone();
        }
        let outcome = self.derive_all(pull).await;
        *last = Some(Derived {
            at: Instant::now(),
            outcome: outcome.clone(),
        });
        outcome
    }

    fn turn(&self, key: &ClosureKey) -> Turn {
        let mut deriving = self.deriving.lock();
        deriving.retain(|_, turn| {
            let idle = Arc::strong_count(turn) <= 1;
            let is_recent = |last: &Option<Derived>| last.as_ref().is_some_and(Derived::is_recent);
            !idle || turn.try_lock().is_ok_and(|last| is_recent(&last))
        });
        Arc::clone(deriving.entry(key.clone()).or_default())
    }

    async fn derive_all(&self, pull: &Pull) -> Result<(), ArtifactError> {
        let key = &pull.key;
        let ends = Instant::now() + DERIVATION;
        let TagList { tags, skipped } = match self.registries.tags(&key.host, &key.repository).await
        {
            Ok(listed) => listed,
            // A repository without tags holds nothing that was verified.
            Err(ArtifactError::NotFound { .. }) => TagList {
                tags: Vec::new(),
                skipped: None,
            },
            Err(error) => return Err(error),
        };
        // Each by itself: one that cannot be looked at says nothing about the others.
        let failed = stream::iter(tags)
            .map(|tag| self.derive_tag(pull, tag, ends))
            .buffer_unordered(PARALLEL)
            .filter_map(|outcome| std::future::ready(outcome.err()))
            .collect::<Vec<_>>()
            .await;
        match failed.into_iter().next().or(skipped) {
            None => {
                self.closures.derived(key);
                Ok(())
            }
            Some(error) => Err(error),
        }
    }

    async fn derive_tag(&self, pull: &Pull, tag: Tag, ends: Instant) -> Result<(), ArtifactError> {
        let what = format!("`{}:{tag}`", pull.key.repository);
        let signed = match timeout_at(ends, self.signed(pull, tag, ends)).await {
            Ok(signed) => signed,
            Err(_elapsed) => Err(ArtifactError::Deadline { what }),
        };
        let Err(error) = signed else {
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

impl Derived {
    fn is_recent(&self) -> bool {
        self.at.elapsed() < DERIVED_LATELY
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

/// 2 s // a repository with a tag that cannot be looked at is not walked anew for each blob that it lacks.
const DERIVED_LATELY: Duration = Duration::from_secs(2);
