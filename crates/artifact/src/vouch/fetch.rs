//! One look-up: discover, add what is kept, verify, keep.

use std::sync::Arc;

use evidence::{Evidence, SignerSet, Vouched, verify};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::warn;

use super::Key;
use crate::{
    error::ArtifactError,
    registry::{Discovery, Registries, limits::DISCOVERY_TIMEOUT},
    source::KeptEvidence,
};

/// What a look-up needs.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    registries: Registries,
    kept: Option<KeptEvidence>,
}

/// What a look-up found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) vouched: Arc<Vouched>,
    /// False if some of the evidence could not be read.
    pub(super) complete: bool,
}

impl Fetcher {
    pub(super) fn new(registries: Registries, kept: Option<KeptEvidence>) -> Self {
        Self { registries, kept }
    }

    /// Signatures that were found are an answer, whatever else could not be read; without any, an error is one and never "unsigned".
    pub(super) async fn fetch(
        &self,
        key: &Key,
        signers: &SignerSet,
    ) -> Result<Found, ArtifactError> {
        let Discovery {
            mut evidence,
            skipped,
        } = self.discover(key).await?;
        let kept = self.load(key).await;
        let is_new = evidence.iter().any(|piece| !kept.contains(piece));
        let missing: Vec<_> = kept
            .into_iter()
            .filter(|piece| !evidence.contains(piece))
            .collect();
        evidence.extend(missing);

        let vouched = verify(&key.digest, &evidence, signers);
        match skipped.into_iter().next() {
            Some(error) if vouched.signatures.is_empty() => return Err(error),
            Some(error) => {
                warn!(%error, digest = %key.digest, "some evidence could not be read; what was read is signed");
                return Ok(Found {
                    vouched: Arc::new(vouched),
                    complete: false,
                });
            }
            None => {}
        }
        if is_new && !vouched.signatures.is_empty() {
            self.store(key, evidence).await;
        }
        Ok(Found {
            vouched: Arc::new(vouched),
            complete: true,
        })
    }

    /// A time-out is one more thing that could not be read: what is kept may still answer.
    async fn discover(&self, key: &Key) -> Result<Discovery, ArtifactError> {
        let found = self
            .registries
            .discover(&key.host, &key.repository, &key.digest);
        timeout(DISCOVERY_TIMEOUT, found)
            .await
            .unwrap_or_else(|_elapsed| {
                let what = format!("evidence of `{}@{}`", key.repository, key.digest);
                Ok(Discovery {
                    evidence: Vec::new(),
                    skipped: vec![ArtifactError::Deadline { what }],
                })
            })
    }

    async fn load(&self, key: &Key) -> Vec<Evidence> {
        let Some(kept) = self.kept.clone() else {
            return Vec::new();
        };
        let key = key.clone();
        let loaded =
            spawn_blocking(move || kept.load(&key.host, &key.repository, &key.digest)).await;
        match loaded {
            Ok(Ok(evidence)) => evidence,
            Ok(Err(error)) => {
                warn!(error = %chain(&error), "kept evidence does not read; it is looked up again");
                Vec::new()
            }
            Err(error) => {
                warn!(%error, "reading kept evidence was interrupted");
                Vec::new()
            }
        }
    }

    async fn store(&self, key: &Key, evidence: Vec<Evidence>) {
        let Some(kept) = self.kept.clone() else {
            return;
        };
        let key = key.clone();
        let stored =
            spawn_blocking(move || kept.store(&key.host, &key.repository, &key.digest, &evidence))
                .await;
        match stored {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %chain(&error), "evidence is not kept on disk"),
            Err(error) => warn!(%error, "keeping evidence was interrupted"),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
