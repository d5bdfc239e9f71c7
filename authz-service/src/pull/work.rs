//! The finding itself: resolve, vouch, and where a digest belongs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use artifact::registry::limits::PARALLEL;
use artifact::{ArtifactError, Closure, ClosureKey, Closures, Reference, Registries, Voucher};
use evidence::{Digest, SignerSet, Vouched};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use policy::policy::Policy;
use policy::reason::Reason;
use tokio::time::Instant;

use super::derive::Turn;
use super::{Pulled, fault};
use crate::decide::{NeededArtifact, Wanted};
use crate::denial::Denial;
use crate::question::{Fact, TargetArtifact};

/// Where artifacts are looked for, and what is known of them.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) registries: Registries,
    pub(super) voucher: Voucher,
    pub(super) closures: Arc<Closures>,
    /// Repositories that are being derived, or were a moment ago.
    pub(super) deriving: Mutex<HashMap<ClosureKey, Turn>>,
}

/// One artifact to find, under the policy that asked for it.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    pub(super) key: ClosureKey,
    pub(super) wanted: Wanted,
    pub(super) accept: Vec<String>,
    pub(super) signers: Arc<SignerSet>,
    /// When the first to ask stops waiting.
    pub(super) deadline: Instant,
}

/// What belongs to a manifest.
#[derive(Clone, Debug)]
pub(super) struct Learnt {
    pub(super) key: ClosureKey,
    pub(super) manifest: Digest,
    pub(super) members: BTreeSet<Digest>,
}

impl Pull {
    /// Whether one answer is the other's too. The signers go with the policy.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key == other.key && self.wanted == other.wanted && self.accept == other.accept
    }

    pub(super) fn new(needed: &NeededArtifact, policy: &Policy, deadline: Instant) -> Self {
        let NeededArtifact {
            host,
            repository,
            wanted,
            accept,
        } = needed.clone();
        let key = ClosureKey {
            host: host.as_str().to_owned(),
            repository,
            policy_hash: policy.hash().to_owned(),
        };
        Self {
            key,
            wanted,
            accept,
            signers: Arc::new(policy.signers().clone()),
            deadline,
        }
    }
}

impl Work {
    pub(super) fn new(registries: Registries, voucher: Voucher, closures: Arc<Closures>) -> Self {
        Self {
            registries,
            voucher,
            closures,
            deriving: Mutex::default(),
        }
    }

    /// Finds what a decision needs.
    pub(super) async fn pull(&self, pull: &Pull) -> Pulled {
        let found = match &pull.wanted {
            Wanted::Manifest(reference) => self.manifest(pull, reference).await,
            Wanted::Blob(digest) => self.blob(pull, digest).await,
        };
        found.unwrap_or_else(Pulled::from)
    }

    async fn manifest(&self, pull: &Pull, reference: &Reference) -> Result<Pulled, Denial> {
        let ClosureKey {
            host, repository, ..
        } = &pull.key;
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(_) => {
                let resolved = self
                    .registries
                    .resolve(host, repository, reference, &pull.accept)
                    .await;
                resolved.map_err(|error| fault::denial(&error))?.digest
            }
        };
        self.by_digest(pull, digest).await
    }

    /// A manifest is judged by its own signatures if it has any, and else by those of the index that holds it.
    async fn by_digest(&self, pull: &Pull, digest: Digest) -> Result<Pulled, Denial> {
        let vouched = self
            .vouch(pull, &digest, pull.deadline)
            .await
            .map_err(|error| fault::denial(&error))?;
        if vouched.signatures.is_empty() {
            let roots = match self.holders(pull, &digest).await {
                Ok(Closure::Inside(roots)) => roots,
                Ok(Closure::Outside | Closure::Unknown) | Err(_) => Vec::new(),
            };
            let roots: Vec<_> = roots.into_iter().filter(|root| *root != digest).collect();
            if roots.is_empty() {
                // Unsigned, and held by nothing that is signed as far as can be told: refused for what it is.
                let artifact = TargetArtifact { digest, vouched };
                return Ok(Pulled::one(artifact, None));
            }
            return Ok(self.within(pull, &digest, roots).await);
        }
        let members = self
            .members(pull, &digest)
            .await
            .map_err(|error| fault::denial(&error))?;
        let learnt = Some(Learnt {
            key: pull.key.clone(),
            manifest: digest.clone(),
            members,
        });
        Ok(Pulled::one(TargetArtifact { digest, vouched }, learnt))
    }

    async fn blob(&self, pull: &Pull, digest: &Digest) -> Result<Pulled, Denial> {
        match self.holders(pull, digest).await {
            Ok(Closure::Inside(roots)) => Ok(self.within(pull, digest, roots).await),
            Ok(Closure::Outside) => Err(Denial::new(
                Reason::BlobOutsideClosure,
                format!(
                    "`{digest}` belongs to no signed manifest of `{}`",
                    pull.key.repository
                ),
            )),
            Ok(Closure::Unknown) => Err(pending(format!(
                "what `{digest}` belongs to is not known here yet"
            ))),
            Err(error) => Err(pending(daemon::chain(&error))),
        }
    }

    /// The digest, with what is vouched for each of the roots that hold it: any of them may be the one that meets a requirement.
    async fn within(&self, pull: &Pull, digest: &Digest, roots: Vec<Digest>) -> Pulled {
        // One root that is not found in time must not hide the others.
        let ends = pull.deadline.checked_sub(LAST_WORD);
        let ends = ends.unwrap_or(pull.deadline);
        let vouched: Vec<_> = stream::iter(roots)
            .map(|root| async move { self.vouch(pull, &root, ends).await })
            .buffered(PARALLEL)
            .collect()
            .await;
        let artifact = |vouched| TargetArtifact {
            digest: digest.clone(),
            vouched,
        };
        let facts = vouched.into_iter().map(|vouched| {
            Fact::from(vouched.map(artifact).map_err(|error| fault::denial(&error)))
        });
        Pulled::any(facts)
    }

    /// Where the digest belongs; derived from the repository's tags if nothing is known.
    async fn holders(&self, pull: &Pull, digest: &Digest) -> Result<Closure, ArtifactError> {
        match self.closures.admits(&pull.key, digest) {
            known @ (Closure::Inside(_) | Closure::Outside) => Ok(known),
            Closure::Unknown => {
                let derived = self.derive(pull, digest).await;
                match self.closures.admits(&pull.key, digest) {
                    // Found: whatever else could not be looked at takes nothing from it.
                    known @ (Closure::Inside(_) | Closure::Outside) => Ok(known),
                    Closure::Unknown => derived.map(|()| Closure::Unknown),
                }
            }
        }
    }

    pub(super) async fn vouch(
        &self,
        pull: &Pull,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Arc<Vouched>, ArtifactError> {
        let ClosureKey {
            host, repository, ..
        } = &pull.key;
        self.voucher
            .vouch(host, repository, digest, &pull.signers, deadline)
            .await
    }

    /// Everything that belongs to the manifest, itself included.
    pub(super) async fn members(
        &self,
        pull: &Pull,
        digest: &Digest,
    ) -> Result<BTreeSet<Digest>, ArtifactError> {
        let ClosureKey {
            host, repository, ..
        } = &pull.key;
        let members = self.registries.members(host, repository, digest).await?;
        Ok(members.all().cloned().collect())
    }
}

fn pending(detail: String) -> Denial {
    Denial::new(Reason::VerificationPending, detail)
}

/// 10 ms // before the asker's deadline, to judge by what was found.
const LAST_WORD: Duration = Duration::from_millis(10);
