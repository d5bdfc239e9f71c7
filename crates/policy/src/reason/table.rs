//! The table of reasons: one row each, from which the enum, its look-ups and the docs page come.

use std::fmt::Write as _;

use super::{Kind, Party};

/// Makes the enum, `ALL` and every look-up from one row per reason, so that no row can be forgotten in one of them.
macro_rules! reasons {
    ($($name:ident $code:literal $kind:ident $party:ident, $meaning:literal, $next:literal;)+) => {
        /// Why something was refused. Codes are stable: tests, dashboards and runbooks match on them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)+
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What the reason is about.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)+ }
            }

            /// Who can mend the cause.
            pub const fn fixed_by(self) -> Party {
                match self { $(Self::$name => Party::$party,)+ }
            }

            /// What happened, in one or two sentences.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)+ }
            }

            /// The command to run next. `ID` stands for the decision id, `NAME` for a workload.
            pub const fn next_command(self) -> &'static str {
                match self { $(Self::$name => $next,)+ }
            }
        }
    };
}

reasons! {
    RequestMalformed "request-malformed" Caller Platform,
        "The proxy's question could not be read, or lacks a part that a decision needs.",
        "authz-service explain ID";
    IdentityMissing "identity-missing" Caller WorkloadOwner,
        "The caller showed no client certificate.",
        "cert-agent workload list";
    IdentityMalformed "identity-malformed" Caller WorkloadOwner,
        "The caller's certificate does not hold a valid SPIFFE ID in a URI SAN, or breaks another rule of X509-SVID.",
        "authz-service explain ID";
    IdentityAmbiguous "identity-ambiguous" Caller WorkloadOwner,
        "The certificate and the principal that the proxy read from it disagree, or the certificate names more than one identity.",
        "authz-service explain ID";
    IdentityExpired "identity-expired" Caller WorkloadOwner,
        "The caller's certificate is outside its validity at the time of the request.",
        "cert-agent workload explain NAME";
    IdentityUntrusted "identity-untrusted" Caller Platform,
        "The caller's certificate does not chain to the trust bundle of its trust domain.",
        "authz-service explain ID";
    ProxyUntrusted "proxy-untrusted" Caller Platform,
        "The proxy that asked is not one that this service answers.",
        "authz-service status";
    BindingMissing "binding-missing" Caller WorkloadOwner,
        "No agent has said that the caller's key belongs to a verified workload.",
        "authz-service explain ID";
    BindingExpired "binding-expired" Caller Platform,
        "The agent's statement about the caller's key is no longer valid.",
        "cert-agent workload explain NAME";
    BindingIdentityMismatch "binding-identity-mismatch" Caller Security,
        "The caller's key was bound to another identity than the one in its certificate.",
        "authz-service explain ID";
    RequirementUnmet "requirement-unmet" Caller WorkloadOwner,
        "The caller's own artifact does not meet what the rule demands. The detail holds the artifact's reason.",
        "authz-service explain ID";
    TargetUnknown "target-unknown" Caller WorkloadOwner,
        "The request is neither a registry action nor a service call that policies can name.",
        "authz-service explain ID";
    TargetNotCanonical "target-not-canonical" Caller WorkloadOwner,
        "The path or host is not in canonical form. It is refused, never repaired.",
        "authz-service explain ID";
    NoRuleMatched "no-rule-matched" Caller Security,
        "No rule of the access policy permits this call.",
        "authz-service explain ID";
    RuleDenied "rule-denied" Caller Security,
        "A deny rule of the access policy matches this call.",
        "authz-service explain ID";

    ArtifactUnsigned "artifact-unsigned" Artifact WorkloadOwner,
        "No signature of this artifact was found.",
        "authz-service explain ID";
    ArtifactSignatureInvalid "artifact-signature-invalid" Artifact Security,
        "A signature was found, but it does not verify: the payload, the signature or the key was changed.",
        "authz-service explain ID";
    ArtifactSignerUntrusted "artifact-signer-untrusted" Artifact Security,
        "The artifact is signed, but not by a signer of the signature policy.",
        "authz-service explain ID";
    ArtifactThresholdUnmet "artifact-threshold-unmet" Artifact WorkloadOwner,
        "Fewer distinct signers have signed the artifact than the signature policy demands.",
        "authz-service explain ID";
    ArtifactClaimMismatch "artifact-claim-mismatch" Artifact WorkloadOwner,
        "The artifact is signed by enough trusted signers, but they do not say that it is what the policy demands.",
        "authz-service explain ID";
    ArtifactSignedTooEarly "artifact-signed-too-early" Artifact WorkloadOwner,
        "The artifact was signed before the time from which the signature policy counts signatures.",
        "authz-service explain ID";
    ArtifactAttestationMissing "artifact-attestation-missing" Artifact WorkloadOwner,
        "An attestation that the signature policy demands was not found.",
        "authz-service explain ID";
    ArtifactAttestationStale "artifact-attestation-stale" Artifact Security,
        "An attestation is older than the signature policy admits.",
        "authz-service explain ID";
    ArtifactVulnerable "artifact-vulnerable" Artifact WorkloadOwner,
        "The vulnerability report holds a finding that the signature policy does not admit.",
        "authz-service explain ID";
    ArtifactRollback "artifact-rollback" Artifact WorkloadOwner,
        "The artifact is older than one that was admitted before.",
        "authz-service explain ID";
    ArtifactMalformed "artifact-malformed" Artifact WorkloadOwner,
        "The artifact's manifest or its evidence could not be read, or is ambiguous.",
        "authz-service explain ID";
    ArtifactImageMismatch "artifact-image-mismatch" Artifact Security,
        "The evidence found for this artifact is about another digest.",
        "authz-service explain ID";
    ArtifactNotFound "artifact-not-found" Artifact WorkloadOwner,
        "The registry has no such artifact.",
        "authz-service explain ID";
    BlobOutsideClosure "blob-outside-closure" Artifact WorkloadOwner,
        "The blob belongs to no artifact that was verified under the policy in force.",
        "authz-service explain ID";

    GrantNoneMatched "grant-none-matched" Workload Security,
        "No grant's selectors match what the agent observed of this workload.",
        "cert-agent workload explain NAME";
    WorkloadGone "workload-gone" Workload WorkloadOwner,
        "The process that asked has ended.",
        "cert-agent workload list";
    WorkloadChanged "workload-changed" Workload WorkloadOwner,
        "The process that asked runs another program than when it connected.",
        "cert-agent workload explain NAME";
    WorkloadNotIsolated "workload-not-isolated" Workload WorkloadOwner,
        "The process is not in a scope that the agent began, so what else runs beside it is unknown.",
        "cert-agent exec --grant NAME -- PROGRAM";
    WorkloadModified "workload-modified" Workload Security,
        "A process of the workload is not the program that was verified.",
        "cert-agent workload explain NAME";
    AttestorFailed "attestor-failed" Workload Platform,
        "The agent could not observe the process, or the process could forge what is observed.",
        "cert-agent workload explain NAME";
    IssuerUnavailable "issuer-unavailable" Workload Platform,
        "The issuer gave no certificate for an identity that the workload is entitled to.",
        "cert-agent workload explain NAME";
    RequesterNotPermitted "requester-not-permitted" Workload Platform,
        "The process that asked may not use this socket or this request.",
        "cert-agent workload list";

    RegistryUnreachable "registry-unreachable" Ours Platform,
        "The registry could not be reached, or its answer could not be used, and the evidence is not known here.",
        "authz-service explain ID";
    VerificationPending "verification-pending" Ours Platform,
        "What the blob belongs to is being derived again. The client should try again.",
        "authz-service explain ID";
    NotSynced "not-synced" Ours Platform,
        "This replica has not yet heard from every agent that it knows.",
        "authz-service status";
    PolicyStale "policy-stale" Ours Platform,
        "This replica and an agent hold different policies, and the answer depends on it.",
        "authz-service status";
    Deadline "deadline" Ours Platform,
        "The decision was not made within the proxy's time.",
        "authz-service explain ID";
    Overloaded "overloaded" Ours Platform,
        "Too much is being decided at once. The client should try again.",
        "authz-service status";
    Internal "internal" Ours Platform,
        "A fault of our own. It is logged as an error under the decision id.",
        "authz-service explain ID";
    Cancelled "cancelled" Ours WorkloadOwner,
        "The caller left before the answer. It is recorded only.",
        "authz-service explain ID";
}

/// The docs page: every reason in a table, one section for each kind.
pub fn table_markdown() -> String {
    let mut page = String::from(INTRODUCTION);
    for (kind, heading) in SECTIONS {
        page.push_str(heading);
        page.push_str(TABLE_HEAD);
        for reason in Reason::ALL.iter().filter(|reason| reason.kind() == kind) {
            push_row(&mut page, *reason);
        }
    }
    page
}

fn push_row(page: &mut String, reason: Reason) {
    let row = writeln!(
        page,
        "| `{}` | {} | {} | {} | `{}` |",
        reason.code(),
        reason.http_status(),
        reason.meaning(),
        reason.fixed_by(),
        reason.next_command()
    );
    debug_assert!(row.is_ok(), "a String takes every write");
}

const INTRODUCTION: &str = "\
# Reasons

Every refusal has one reason. Its code is stable. `authz-service reasons CODE` prints the same row.
This page is generated from `crates/policy/src/reason/table.rs`; `cargo xtask generate` writes it.
In the commands `ID` is the decision id, found in the `x-countersign-decision` header and in the body of the denial.
";

const SECTIONS: [(Kind, &str); 4] = [
    (Kind::Caller, "\n## Caller\n"),
    (
        Kind::Artifact,
        "\n## Artifact\n\nGiven for an artifact that is pulled, and in the detail of `requirement-unmet` for the caller's own.\n",
    ),
    (
        Kind::Workload,
        "\n## Workload\n\nGiven by cert-agent. The status is that of a call which the refused workload attempts later.\n",
    ),
    (
        Kind::Ours,
        "\n## Ours\n\nOur own faults. They deny too, with `retry-after`.\n",
    ),
];

const TABLE_HEAD: &str = "\n| code | status | meaning | fixed by | next |\n|---|---|---|---|---|\n";
