//! Asks `entitle` with what is true now: the grants in force, the evidence on disk, the clock.

use std::sync::Arc;

use artifact::source::DirectorySource;
use daemon::{chain, clock::Clock};
use evidence::{Evidence, SignerSet, binding::BoundArtifact, digest::Digest};
use policy::reason::Reason;
use tokio::sync::watch;

use crate::{
    entitle::{self, Attested},
    grants::{Grant, Grants},
    workload::{Refused, Workload},
};

/// The one way to a verdict of `entitle`.
#[derive(Clone)]
pub struct Judge {
    grants: watch::Receiver<Arc<Grants>>,
    source: Arc<DirectorySource>,
    clock: Arc<dyn Clock>,
}

/// What a workload is entitled to, and on what evidence.
#[derive(Debug)]
pub struct Entitled {
    /// The grants it meets.
    pub grants: Vec<Arc<Grant>>,
    /// The evidence of each of its digests.
    pub evidence: Vec<(Digest, Vec<Evidence>)>,
}

impl Judge {
    /// Judges by these grants and this evidence.
    pub fn new(
        grants: watch::Receiver<Arc<Grants>>,
        source: Arc<DirectorySource>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            grants,
            source,
            clock,
        }
    }

    /// The grants in force.
    pub fn grants(&self) -> Arc<Grants> {
        Arc::clone(&self.grants.borrow())
    }

    /// Says what a workload is entitled to now.
    ///
    /// # Errors
    /// Why it gets nothing.
    pub async fn workload(&self, workload: &Workload) -> Result<Entitled, Refused> {
        let grants = self.grants();
        let (attested, evidence) = self.attest(workload.artifacts.clone(), &grants).await?;
        let mut entitled = entitle::entitle(workload, &attested, &grants, self.clock.now())?;
        // SPEC(Workload API §5.2.1): the first is the default. That is the grant it was started for.
        entitled.sort_by_key(|grant| *grant.terms.name != *workload.grant);
        Ok(Entitled {
            grants: entitled,
            evidence,
        })
    }

    /// Says whether a program may be started under a grant now.
    ///
    /// # Errors
    /// There is no such grant, or the program's evidence does not meet it.
    pub async fn program(&self, grant: &str, digest: &Digest) -> Result<Arc<Grant>, Refused> {
        let grants = self.grants();
        let refuse =
            |reason, detail: String| Refused::new(reason, detail).running([digest.clone()]);
        let Some(grant) = grants.named(grant) else {
            return Err(refuse(
                Reason::GrantNoneMatched,
                format!("no grant is named `{grant}`"),
            ));
        };
        let artifact = BoundArtifact {
            role: grant.role,
            digests: vec![digest.clone()],
        };
        let (attested, _) = self.attest(vec![artifact], &grants).await?;
        entitle::meets(&grant.terms.artifact, &attested, self.clock.now())
            .map_err(|unmet| entitle::wanting(refuse(unmet.reason, unmet.detail), grant))?;
        Ok(Arc::clone(grant))
    }

    /// Adds to a refusal whose identity it would have been.
    #[must_use]
    pub fn nearest(&self, refused: Refused) -> Refused {
        entitle::nearest(refused, &self.grants())
    }

    /// Evidence is read anew at every asking: a file taken away counts at once.
    async fn attest(
        &self,
        artifacts: Vec<BoundArtifact>,
        grants: &Arc<Grants>,
    ) -> Result<Found, Refused> {
        let (source, grants) = (Arc::clone(&self.source), Arc::clone(grants));
        let read = move || {
            artifacts
                .into_iter()
                .map(|artifact| read(artifact, &source, grants.signers()))
                .collect::<Result<Vec<_>, _>>()
        };
        let found = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| unreadable(&error))??;
        let (attested, evidence): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        Ok((attested, evidence.into_iter().flatten().collect()))
    }
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge")
            .field("policy", &self.grants().policy_hash())
            .finish_non_exhaustive()
    }
}

type EvidenceOf = (Digest, Vec<Evidence>);
type Found = (Vec<Attested>, Vec<EvidenceOf>);

fn read(
    artifact: BoundArtifact,
    source: &DirectorySource,
    signers: &SignerSet,
) -> Result<(Attested, Vec<EvidenceOf>), Refused> {
    let mut vouched = Vec::new();
    let mut evidence = Vec::new();
    for digest in &artifact.digests {
        // An unreadable directory is not an absence of signatures.
        let found = source
            .evidence(digest)
            .map_err(|error| unreadable(&error).running([digest.clone()]))?;
        vouched.push(Arc::new(evidence::verify(digest, &found, signers)));
        evidence.push((digest.clone(), found));
    }
    Ok((Attested { artifact, vouched }, evidence))
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Refused {
    Refused::new(
        Reason::AttestorFailed,
        format!("evidence cannot be read: {}", chain(error)),
    )
}
