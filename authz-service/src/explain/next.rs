//! What to do about a denial, in order, with the names of this very decision in it.

use evidence::binding::Refusal;
use policy::reason::{Kind, Reason};

use super::text;
use crate::record::DecisionRecord;

/// The steps. Empty for a permit.
pub(super) fn steps(record: &DecisionRecord, refusals: &[Refusal]) -> Vec<String> {
    let Some(reason) = record.reason else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    steps.extend(refusals.first().map(of_refusal));
    let facts = Facts::of(record);
    steps.extend(facts.of_reason(reason));
    steps.extend(record.cause.and_then(|cause| facts.of_reason(cause)));
    steps
}

/// An agent refused the identity: that refusal is the cause to mend, and the agent knows most of it.
fn of_refusal(refusal: &Refusal) -> String {
    let subject = refusal
        .digests
        .first()
        .map_or_else(|| refusal.workload.clone(), ToString::to_string);
    let node = &refusal.node;
    format!(
        "mend what an agent refused the identity for, `{}`: on {node}, `cert-agent workload explain {subject}`",
        refusal.reason
    )
}

/// The names that a step speaks of.
struct Facts {
    caller: String,
    target: String,
    artifact: String,
    rule: String,
}

impl Facts {
    fn of(record: &DecisionRecord) -> Self {
        let question = record.question.as_ref();
        let caller = question.and_then(|question| question.caller.known());
        let target = question.and_then(|question| question.target.known());
        let artifact = question
            .and_then(|question| question.artifact.as_ref())
            .and_then(|artifact| artifact.known());
        Self {
            caller: caller.map_or_else(
                || "SPIFFE-ID".to_owned(),
                |caller| caller.spiffe_id.to_string(),
            ),
            target: target.map_or_else(|| "the target".to_owned(), text::target),
            artifact: artifact.map_or_else(
                || "the artifact".to_owned(),
                |artifact| artifact.digest.to_string(),
            ),
            rule: record.rule.clone().unwrap_or_else(|| "the rule".to_owned()),
        }
    }

    fn of_reason(&self, reason: Reason) -> Option<String> {
        let Self {
            caller,
            target,
            artifact,
            rule,
        } = self;
        let step = match reason {
            Reason::RequestMalformed => "compare the proxy's ext_authz filter with deploy/envoy/enforce".to_owned(),
            Reason::IdentityMissing => {
                "call with a client certificate: run the caller by `cert-agent exec --grant NAME -- PROGRAM`, or let it use the Workload API; `cert-agent workload list` shows who has one".to_owned()
            }
            Reason::IdentityMalformed | Reason::IdentityAmbiguous => {
                "use a certificate with exactly one URI SAN that is a SPIFFE ID, as cert-agent issues; `cert-agent workload list` shows them".to_owned()
            }
            Reason::IdentityExpired => format!("see why the certificate was not renewed: `cert-agent workload explain {caller}`"),
            Reason::IdentityUntrusted => {
                "compare `trustBundles` in the configuration with the root of the agent's issuer; `authz-service status` shows the agents that have synced".to_owned()
            }
            Reason::ProxyUntrusted => "add the proxy to `proxies` in the configuration, or find out who asked".to_owned(),
            Reason::BindingMissing => format!(
                "no agent vouches for this key as {caller}: `cert-agent workload explain {caller}` says who holds that identity; a certificate that no agent issued is an incident"
            ),
            Reason::BindingExpired => format!("see why the agent did not renew it: `cert-agent workload explain {caller}`"),
            Reason::BindingIdentityMismatch => {
                format!("the key was given to another identity: `cert-agent workload explain {caller}`; treat the certificate as stolen or forged")
            }
            Reason::RequirementUnmet => format!("sign the program or image that {caller} runs as rule `{rule}` demands"),
            Reason::TargetUnknown | Reason::TargetNotCanonical => {
                "ask in canonical form: lower-case host, no percent-encoding, no empty or dotted path segments".to_owned()
            }
            Reason::NoRuleMatched => format!(
                "if {caller} should be allowed `{target}`, add it to an AccessPolicy, then `authz-service check --config FILE`"
            ),
            Reason::RuleDenied => format!("rule `{rule}` denies it on purpose; change or remove that rule if the purpose is gone"),
            Reason::ArtifactUnsigned => format!("sign it: `cosign sign --key KEY REPOSITORY@{artifact}`, or add evidence to the agent's evidence directory"),
            Reason::ArtifactSignatureInvalid | Reason::ArtifactMalformed | Reason::ArtifactImageMismatch => {
                format!("the evidence of {artifact} is damaged or of something else: find out who changed it, then sign again")
            }
            Reason::ArtifactSignerUntrusted => {
                format!("sign {artifact} with a key of the signature policy, or add its key there")
            }
            Reason::ArtifactThresholdUnmet => format!("have more of the policy's signers sign {artifact}"),
            Reason::ArtifactClaimMismatch => {
                format!("sign {artifact} with the claims that the policy demands: `cosign sign -a KEY=VALUE`")
            }
            Reason::ArtifactSignedTooEarly
            | Reason::ArtifactAttestationMissing
            | Reason::ArtifactAttestationStale
            | Reason::ArtifactVulnerable
            | Reason::ArtifactRollback => format!("build and sign a newer artifact than {artifact}"),
            Reason::ArtifactNotFound => format!("push it first, or correct the name: `{target}`"),
            Reason::BlobOutsideClosure => format!(
                "`{target}` is part of no signed image of that repository: pull the image by its manifest, and see that the image is signed"
            ),
            Reason::RegistryUnreachable => {
                "see that the registry answers at the endpoint in `registries`; the detail says what it did".to_owned()
            }
            Reason::VerificationPending => "try again: what the blob belongs to is being derived from the repository's tags".to_owned(),
            Reason::NotSynced => "`authz-service status` names the agents that have not synced".to_owned(),
            Reason::PolicyStale => "`authz-service status` shows which agent holds another policy".to_owned(),
            Reason::Deadline => "try again; if it stays, raise the ext_authz timeout of the route or look at the registry".to_owned(),
            Reason::Overloaded => "try again; if it stays, add a replica".to_owned(),
            Reason::Internal => "look for an error with this decision id in the log".to_owned(),
            Reason::Cancelled => return None,
            Reason::GrantNoneMatched
            | Reason::WorkloadGone
            | Reason::WorkloadChanged
            | Reason::WorkloadNotIsolated
            | Reason::WorkloadModified
            | Reason::AttestorFailed
            | Reason::IssuerUnavailable
            | Reason::RequesterNotPermitted => {
                debug_assert_eq!(reason.kind(), Kind::Workload, "agents give these, Checks do not");
                format!("`cert-agent workload explain {caller}`")
            }
        };
        Some(step)
    }
}
