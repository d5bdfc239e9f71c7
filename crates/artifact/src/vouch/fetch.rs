//! One look-up: discover, add what is kept, verify, keep.

use std::sync::Arc;

use evidence::{Evidence, SignerSet, Vouched, verify};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::warn;

use super::Key;
use crate::{
    error::ArtifactError,
    registry::{
        Discovery, Registries,
        limits::{DISCOVERY_TIMEOUT, MAX_PIECES},
    },
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

/// The most pieces that are kept of one digest: half of what is verified, so that there is room for new ones.
const MAX_KEPT_PIECES: usize = MAX_PIECES / 2;

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
        let Discovery { evidence, skipped } = self.discover(key).await?;
        // What is kept comes first, so that no flood of junk pushes it beyond what is verified.
        let mut pieces = self.load(key).await;
        let kept = pieces.len();
        for piece in evidence {
            if !pieces.contains(&piece) {
                pieces.push(piece);
            }
        }
        let vouched = Arc::new(verify(&key.digest, &pieces, signers));
        let complete = skipped.is_empty();
        if vouched.signatures.is_empty() {
            return match skipped.into_iter().next() {
                Some(error) => Err(error),
                None => Ok(Found { vouched, complete }),
            };
        }
        for error in skipped {
            warn!(error = %chain(&error), digest = %key.digest, "some evidence could not be read; what was read is signed");
        }
        self.keep(key, signers, pieces, kept).await;
        Ok(Found { vouched, complete })
    }

    /// Keeps the pieces that vouch by themselves, if any of these is not among the first `kept`.
    async fn keep(&self, key: &Key, signers: &SignerSet, pieces: Vec<Evidence>, kept: usize) {
        let vouches = |piece: &Evidence| {
            let alone = verify(&key.digest, std::slice::from_ref(piece), signers);
            !alone.signatures.is_empty()
        };
        let mut good = pieces;
        let new = good.split_off(kept.min(good.len()));
        good.extend(new.into_iter().filter(vouches));
        if good.len() > kept && kept < MAX_KEPT_PIECES {
            good.truncate(MAX_KEPT_PIECES);
            self.store(key, good).await;
        }
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
