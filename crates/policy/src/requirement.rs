//! What an artifact must be: signed by whom, claimed to be what; judged on what verified evidence proves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use evidence::digest::Digest;
use evidence::vouched::{Cause, Signature, Vouched};

use crate::reason::Reason;
use crate::signature_policy::SignaturePolicy;

mod claims;

pub use claims::RequiredClaims;

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
    /// A deny rule reads this too, and there a refusal can make the deny miss. A new reason to refuse is decided on where denies are
    /// evaluated: does what it refuses still fall under the deny?
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
                    "none of {} pieces of evidence verified: {}",
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
