//! A bound caller, held against the `from` of a rule.

use std::time::SystemTime;

use evidence::binding::{BoundArtifact, Role};
use evidence::digest::Digest;
use evidence::vouched::Vouched;
use policy::reason::Reason;
use policy::requirement::{Requirement, Unmet};
use policy::rule::Callers;

use crate::caller::Caller;
use crate::denial::Denial;
use crate::snapshot::Bound;

/// A caller, what an agent says of it, and when.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) caller: &'a Caller,
    pub(super) bound: &'a Bound,
    pub(super) now: SystemTime,
}

impl Subject<'_> {
    /// Whether a permit is about this caller. What its artifacts must be is [`Subject::meets`].
    pub(super) fn is_named_by(&self, from: &Callers) -> bool {
        from.admits_identity(&self.caller.spiffe_id)
            && from.admits_key(&self.caller.key)
            // Each app makes requests under the one identity: a listed one does not speak for the one beside it.
            && self
                .apps()
                .all(|artifact| from.admits_digests(artifact.digests.iter()))
    }

    /// Whether a deny is about this caller: by any of its artifacts, and also when that cannot be told.
    pub(super) fn is_denied_by(&self, from: &Callers) -> bool {
        let artifacts = &self.bound.binding.artifacts;
        from.admits_identity(&self.caller.spiffe_id)
            && from.admits_key(&self.caller.key)
            && from.admits_digests(artifacts.iter().flat_map(|artifact| &artifact.digests))
            && from
                .artifact
                .as_ref()
                .is_none_or(|requirement| self.may_meet(requirement))
    }

    /// Whether every app artifact of the caller meets the requirement of a permit.
    pub(super) fn meets(&self, requirement: Option<&Requirement>) -> Result<(), Denial> {
        // INVARIANT: the compiler refuses a permit without one. If it ever did not, nothing would pass here.
        let requirement = requirement.ok_or_else(|| {
            Denial::new(
                Reason::Internal,
                "the permit demands nothing of the caller's artifact",
            )
        })?;
        let mut apps = self.apps().peekable();
        if apps.peek().is_none() {
            let detail = "the binding names no artifact that makes the caller's requests";
            return Err(
                Denial::new(Reason::RequirementUnmet, detail).because(Reason::ArtifactUnsigned)
            );
        }
        apps.try_for_each(|artifact| self.accepts(requirement, artifact))
            .map_err(|unmet| {
                Denial::new(Reason::RequirementUnmet, unmet.detail).because(unmet.reason)
            })
    }

    /// Whether one of the caller's artifacts meets the requirement of a deny, or nothing here can tell.
    fn may_meet(&self, requirement: &Requirement) -> bool {
        let artifacts = &self.bound.binding.artifacts;
        artifacts.is_empty()
            || artifacts
                .iter()
                .any(|artifact| self.artifact_may_meet(requirement, artifact))
    }

    fn artifact_may_meet(&self, requirement: &Requirement, artifact: &BoundArtifact) -> bool {
        let mut known = artifact
            .digests
            .iter()
            .filter_map(|digest| self.vouched(digest))
            .peekable();
        known.peek().is_none()
            || known.any(|vouched| match requirement.accepts(vouched, self.now) {
                Ok(()) => true,
                Err(unmet) => match refused_for(unmet.reason) {
                    Refused::AnotherArtifact => false,
                    Refused::Undecided => true,
                },
            })
    }

    /// One digest of an artifact is enough: signing an index covers its manifests, and a manifest its config.
    fn accepts(&self, requirement: &Requirement, artifact: &BoundArtifact) -> Result<(), Unmet> {
        let mut unmet = Unmet {
            reason: Reason::ArtifactUnsigned,
            detail: "the artifact has no digest".to_owned(),
        };
        for digest in &artifact.digests {
            match self.judge(requirement, digest) {
                Ok(()) => return Ok(()),
                // What was found and refused says more than that nothing was found.
                Err(found) if unmet.reason == Reason::ArtifactUnsigned => unmet = found,
                Err(_) => {}
            }
        }
        Err(unmet)
    }

    fn judge(&self, requirement: &Requirement, digest: &Digest) -> Result<(), Unmet> {
        match self.vouched(digest) {
            Some(vouched) => requirement.accepts(vouched, self.now),
            None => requirement.accepts(&nothing_about(digest), self.now),
        }
    }

    fn vouched(&self, digest: &Digest) -> Option<&Vouched> {
        self.bound
            .vouched
            .iter()
            .map(AsRef::as_ref)
            .find(|vouched| vouched.subject == *digest)
    }

    fn apps(&self) -> impl Iterator<Item = &BoundArtifact> {
        self.bound
            .binding
            .artifacts
            .iter()
            .filter(|artifact| artifact.role == Role::App)
    }
}

/// What a refusal by the requirement of a deny says.
enum Refused {
    /// That the deny is about other artifacts: verified evidence, or the lack of any, answers it.
    AnotherArtifact,
    /// Nothing: what was found could not be used, or holds and lacks only what makes a permit stricter.
    Undecided,
}

/// Each reason is weighed here, since a refusal that spares from a deny opens what it was to close.
fn refused_for(reason: Reason) -> Refused {
    match reason {
        Reason::ArtifactUnsigned
        | Reason::ArtifactSignerUntrusted
        | Reason::ArtifactThresholdUnmet
        | Reason::ArtifactClaimMismatch => Refused::AnotherArtifact,
        Reason::ArtifactMalformed
        | Reason::ArtifactSignatureInvalid
        | Reason::ArtifactImageMismatch
        | Reason::ArtifactSignedTooEarly
        | Reason::ArtifactAttestationMissing
        | Reason::ArtifactAttestationStale
        | Reason::ArtifactVulnerable
        | Reason::ArtifactRollback
        | Reason::ArtifactNotFound
        | Reason::BlobOutsideClosure
        // No requirement gives any of these.
        | Reason::RequestMalformed
        | Reason::IdentityMissing
        | Reason::IdentityMalformed
        | Reason::IdentityAmbiguous
        | Reason::IdentityExpired
        | Reason::IdentityUntrusted
        | Reason::ProxyUntrusted
        | Reason::BindingMissing
        | Reason::BindingExpired
        | Reason::BindingIdentityMismatch
        | Reason::RequirementUnmet
        | Reason::TargetUnknown
        | Reason::TargetNotCanonical
        | Reason::NoRuleMatched
        | Reason::RuleDenied
        | Reason::GrantNoneMatched
        | Reason::WorkloadGone
        | Reason::WorkloadChanged
        | Reason::WorkloadNotIsolated
        | Reason::WorkloadModified
        | Reason::AttestorFailed
        | Reason::IssuerUnavailable
        | Reason::RequesterNotPermitted
        | Reason::RegistryUnreachable
        | Reason::VerificationPending
        | Reason::NotSynced
        | Reason::PolicyStale
        | Reason::Deadline
        | Reason::Overloaded
        | Reason::Internal
        | Reason::Cancelled => Refused::Undecided,
    }
}

fn nothing_about(digest: &Digest) -> Vouched {
    Vouched {
        subject: digest.clone(),
        signatures: Vec::new(),
        rejected: Vec::new(),
    }
}
