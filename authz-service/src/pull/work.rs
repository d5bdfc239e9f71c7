//! The finding itself: resolve, vouch, and where a digest belongs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use artifact::{ArtifactError, Closure, ClosureKey, Closures, Reference, Registries, Voucher};
use evidence::{Digest, SignerSet, Vouched};
use parking_lot::Mutex;
use policy::policy::Policy;
use policy::reason::Reason;
use tokio::time::Instant;

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
    /// Repositories that are being derived: one derivation at a time for each.
    pub(super) deriving: Mutex<HashMap<ClosureKey, Arc<tokio::sync::Mutex<()>>>>,
}

/// One artifact to find, under the policy that asked for it.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) key: ClosureKey,
    pub(super) wanted: Wanted,
    pub(super) accept: Vec<String>,
    pub(super) signers: Arc<SignerSet>,
    pub(super) deadline: Instant,
}

/// What belongs to a manifest.
#[derive(Debug)]
pub(super) struct Learnt {
    pub(super) key: ClosureKey,
    pub(super) manifest: Digest,
    pub(super) members: BTreeSet<Digest>,
}

impl Pull {
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
            return match self.holder(pull, &digest).await {
                Ok(Closure::Inside(root)) if root != digest => {
                    self.within(pull, digest, &root).await
                }
                // Unsigned, and held by nothing that is signed as far as can be told: refused for what it is.
                Ok(Closure::Inside(_) | Closure::Outside | Closure::Unknown) | Err(_) => {
                    Ok(Pulled {
                        artifact: Fact::Known(TargetArtifact { digest, vouched }),
                        learnt: None,
                    })
                }
            };
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
        Ok(Pulled {
            artifact: Fact::Known(TargetArtifact { digest, vouched }),
            learnt,
        })
    }

    async fn blob(&self, pull: &Pull, digest: &Digest) -> Result<Pulled, Denial> {
        match self.holder(pull, digest).await {
            Ok(Closure::Inside(root)) => self.within(pull, digest.clone(), &root).await,
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

    /// The digest, judged by what is vouched for the root that holds it.
    async fn within(&self, pull: &Pull, digest: Digest, root: &Digest) -> Result<Pulled, Denial> {
        let vouched = self
            .vouch(pull, root, pull.deadline)
            .await
            .map_err(|error| fault::denial(&error))?;
        Ok(Pulled {
            artifact: Fact::Known(TargetArtifact { digest, vouched }),
            learnt: None,
        })
    }

    /// Where the digest belongs; derived from the repository's tags if nothing is known.
    async fn holder(&self, pull: &Pull, digest: &Digest) -> Result<Closure, ArtifactError> {
        match self.closures.admits(&pull.key, digest) {
            known @ (Closure::Inside(_) | Closure::Outside) => Ok(known),
            Closure::Unknown => {
                self.derive(pull, digest).await?;
                Ok(self.closures.admits(&pull.key, digest))
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
