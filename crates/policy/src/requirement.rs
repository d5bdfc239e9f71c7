//! What an artifact must be: signed by whom, claimed to be what; judged on what verified evidence proves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use evidence::digest::Digest;
use evidence::vouched::{Cause, Claims, Signature, Vouched};
use identity::SpkiHash;

use crate::reason::Reason;

/// A named statement of what counts as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignaturePolicy {
    pub(crate) name: Arc<str>,
    pub(crate) signers: BTreeMap<SpkiHash, Arc<str>>,
    pub(crate) threshold: usize,
}

impl SignaturePolicy {
    /// The name by which requirements refer to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys that count, each with the name that the policy gives its signer.
    pub fn signers(&self) -> &BTreeMap<SpkiHash, Arc<str>> {
        &self.signers
    }

    /// How many distinct signers must have signed. At least one.
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}

/// What the counted signatures must say the artifact is. An empty value demands nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequiredClaims {
    /// The repository, without tag or digest.
    pub repository: Option<String>,
    /// A name that the signature gives the artifact.
    pub name: Option<String>,
    /// Annotations, each with its exact value.
    pub annotations: BTreeMap<String, String>,
}

/// What an artifact must be. It always names a signature policy, so there is none that an unsigned artifact meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    pub(crate) signed_by: Arc<SignaturePolicy>,
    pub(crate) claims: RequiredClaims,
    pub(crate) digests: Vec<Digest>,
    pub(crate) any_signed: bool,
}

/// Why an artifact does not meet a requirement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Unmet {
    /// The reason, always one of the artifact reasons.
    pub reason: Reason,
    /// What was found and what was demanded, for the operator.
    pub detail: String,
}

impl Requirement {
    /// Demands a signature under this policy, whatever the artifact claims to be.
    ///
    /// For local configuration, where an operator names the workload beside it.
    pub fn signed_by(policy: Arc<SignaturePolicy>) -> Self {
        Self {
            signed_by: policy,
            claims: RequiredClaims::default(),
            digests: Vec::new(),
            any_signed: true,
        }
    }

    /// The signature policy that is demanded.
    pub fn signature_policy(&self) -> &Arc<SignaturePolicy> {
        &self.signed_by
    }

    /// What the signatures must say.
    pub fn claims(&self) -> &RequiredClaims {
        &self.claims
    }

    /// The only digests that are accepted; empty accepts any.
    pub fn digests(&self) -> &[Digest] {
        &self.digests
    }

    /// Whether any artifact under the signature policy is accepted, because someone said so in as many words.
    pub fn accepts_any_signed(&self) -> bool {
        self.any_signed
    }

    /// Judges an artifact by what verified evidence proves about it. Total: whatever is missing is a refusal.
    ///
    /// 1. Some signature verified, by a signer of the policy.
    /// 2. Enough distinct signers of the policy signed.
    /// 3. Enough of *those* say that the artifact is what is demanded.
    /// 4. The digest is among those listed, if any are.
    ///
    /// No part that is supported so far depends on `now`; attestations will.
    ///
    /// # Errors
    /// The first of these that does not hold.
    pub fn accepts(&self, vouched: &Vouched, _now: SystemTime) -> Result<(), Unmet> {
        let trusted: Vec<_> = vouched
            .signatures
            .iter()
            .filter(|found| self.counts(found))
            .collect();
        if trusted.is_empty() {
            return Err(self.without_trusted_signature(vouched));
        }
        let threshold = self.signed_by.threshold;
        let signed = distinct_signers(trusted.iter().copied());
        if signed < threshold {
            return Err(self.threshold_unmet(signed, vouched));
        }
        let claimed = distinct_signers(
            trusted
                .into_iter()
                .filter(|found| self.claims.hold_in(&found.claims)),
        );
        if claimed < threshold {
            return Err(self.claims_unmet(claimed, signed));
        }
        if !self.digests.is_empty() && !self.digests.contains(&vouched.subject) {
            return Err(unmet(
                Reason::ArtifactClaimMismatch,
                format!(
                    "`{}` is signed, but is none of the {} digests listed",
                    vouched.subject,
                    self.digests.len()
                ),
            ));
        }
        Ok(())
    }

    /// Whether every artifact that `narrow` accepts is accepted here too. Sound, not complete.
    pub(crate) fn covers(&self, narrow: &Self) -> bool {
        let weaker_digests = self.digests.is_empty()
            || (!narrow.digests.is_empty()
                && narrow
                    .digests
                    .iter()
                    .all(|digest| self.digests.contains(digest)));
        self.signed_by == narrow.signed_by
            && self.claims.implied_by(&narrow.claims)
            && weaker_digests
    }

    fn counts(&self, found: &Signature) -> bool {
        self.signed_by.signers.contains_key(&found.signer)
    }

    fn without_trusted_signature(&self, vouched: &Vouched) -> Unmet {
        let policy = self.signed_by.name();
        if let Some(foreign) = vouched.signatures.first() {
            let detail = format!(
                "signed by key {}, which is no signer of `{policy}`",
                foreign.signer
            );
            return unmet(Reason::ArtifactSignerUntrusted, detail);
        }
        let worst = vouched
            .rejected
            .iter()
            .min_by_key(|rejection| severity(rejection.cause));
        match worst {
            None => unmet(
                Reason::ArtifactUnsigned,
                format!("no signature of `{}` was found", vouched.subject),
            ),
            Some(rejection) => unmet(
                reason_of(rejection.cause),
                format!(
                    "{} of {} found: {}",
                    vouched.rejected.len(),
                    vouched.rejected.len(),
                    rejection.detail
                ),
            ),
        }
    }

    fn threshold_unmet(&self, signed: usize, vouched: &Vouched) -> Unmet {
        let SignaturePolicy {
            name, threshold, ..
        } = &*self.signed_by;
        let rejected = vouched.rejected.len();
        unmet(
            Reason::ArtifactThresholdUnmet,
            format!(
                "{signed} of the {threshold} distinct signers that `{name}` demands; {rejected} signatures did not verify"
            ),
        )
    }

    fn claims_unmet(&self, claimed: usize, signed: usize) -> Unmet {
        let threshold = self.signed_by.threshold;
        let demanded = self.claims.describe();
        unmet(
            Reason::ArtifactClaimMismatch,
            format!("{claimed} of {signed} trusted signers say {demanded}; {threshold} must"),
        )
    }
}

impl RequiredClaims {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        repository.is_none() && name.is_none() && annotations.is_empty()
    }

    fn hold_in(&self, found: &Claims) -> bool {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        repository
            .as_ref()
            .is_none_or(|wanted| found.repository.as_ref() == Some(wanted))
            && name
                .as_ref()
                .is_none_or(|wanted| found.names.contains(wanted))
            && annotations
                .iter()
                .all(|(key, wanted)| found.annotations.get(key) == Some(wanted))
    }

    /// Whether all that is demanded here is demanded there too.
    fn implied_by(&self, narrow: &Self) -> bool {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        (repository.is_none() || *repository == narrow.repository)
            && (name.is_none() || *name == narrow.name)
            && annotations
                .iter()
                .all(|(key, wanted)| narrow.annotations.get(key) == Some(wanted))
    }

    fn describe(&self) -> String {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        let repository = repository
            .iter()
            .map(|value| format!("repository `{value}`"));
        let name = name.iter().map(|value| format!("name `{value}`"));
        let annotations = annotations
            .iter()
            .map(|(key, value)| format!("annotation `{key}={value}`"));
        repository
            .chain(name)
            .chain(annotations)
            .collect::<Vec<_>>()
            .join(" and ")
    }
}

fn distinct_signers<'a>(signatures: impl Iterator<Item = &'a Signature>) -> usize {
    signatures
        .map(|found| found.signer)
        .collect::<BTreeSet<_>>()
        .len()
}

fn unmet(reason: Reason, detail: String) -> Unmet {
    Unmet { reason, detail }
}

/// A signature that was tampered with tells more than one by a stranger.
fn severity(cause: Cause) -> u8 {
    match cause {
        Cause::SignatureInvalid => 0,
        Cause::SubjectMismatch => 1,
        Cause::Malformed => 2,
        Cause::SignerUntrusted => 3,
    }
}

fn reason_of(cause: Cause) -> Reason {
    match cause {
        Cause::Malformed => Reason::ArtifactMalformed,
        Cause::SignatureInvalid => Reason::ArtifactSignatureInvalid,
        Cause::SignerUntrusted => Reason::ArtifactSignerUntrusted,
        Cause::SubjectMismatch => Reason::ArtifactImageMismatch,
    }
}

#[cfg(test)]
mod tests;
