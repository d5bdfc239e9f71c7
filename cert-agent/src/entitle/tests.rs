use std::time::{Duration, UNIX_EPOCH};

use evidence::{
    Evidence,
    binding::{BoundArtifact, Role},
    digest::Digest,
};
use identity::private_key::PrivateKey;

use super::*;
use crate::grants::testing::{Signed, grants};

const NOW: SystemTime = UNIX_EPOCH;

fn workload(uid: u32, artifacts: Vec<BoundArtifact>) -> Workload {
    Workload {
        id: "payments-1".to_owned(),
        grant: "payments".to_owned(),
        uid,
        selectors: vec![
            format!("unix:uid:{uid}").parse().unwrap(),
            format!("unix:gid:{uid}").parse().unwrap(),
        ],
        artifacts,
        program: Digest::sha256_of(b"program"),
        started: NOW,
    }
}

fn artifact(digests: &[&Digest]) -> BoundArtifact {
    BoundArtifact {
        role: Role::App,
        digests: digests.iter().copied().cloned().collect(),
    }
}

fn attested(artifact: &BoundArtifact, evidence: &[Evidence], grants: &Grants) -> Attested {
    let vouched = artifact
        .digests
        .iter()
        .map(|digest| Arc::new(evidence::verify(digest, evidence, grants.signers())))
        .collect();
    Attested {
        artifact: artifact.clone(),
        vouched,
    }
}

fn judged(signed: &Signed, uid: u32, evidence: &[Evidence]) -> Result<Vec<String>, Refused> {
    let grants = grants(signed);
    let artifact = artifact(&[&signed.digest]);
    let attested = [attested(&artifact, evidence, &grants)];
    let entitled = entitle(&workload(uid, vec![artifact]), &attested, &grants, NOW)?;
    Ok(entitled
        .iter()
        .map(|grant| grant.terms.name.to_string())
        .collect())
}

#[test]
fn signed_program_with_its_selectors_is_entitled() {
    let signed = Signed::program("payments");
    assert_eq!(
        judged(&signed, 1000, std::slice::from_ref(&signed.evidence)).unwrap(),
        ["payments"]
    );
}

#[test]
fn no_evidence_is_refused_and_names_what_was_wanted() {
    let signed = Signed::program("payments");
    let refused = judged(&signed, 1000, &[]).unwrap_err();
    assert_eq!(refused.reason, Reason::ArtifactUnsigned);
    assert_eq!(
        refused.wanted.unwrap().as_str(),
        "spiffe://acme.test/ns/pay/sa/payments"
    );
    assert_eq!(refused.grant.as_deref(), Some("payments"));
    assert_eq!(refused.digests, [signed.digest]);
    assert_eq!(refused.workload, "payments-1");
}

#[test]
fn other_uid_matches_no_grant() {
    let signed = Signed::program("payments");
    let refused = judged(&signed, 1001, std::slice::from_ref(&signed.evidence)).unwrap_err();
    assert_eq!(refused.reason, Reason::GrantNoneMatched);
    assert_eq!(refused.wanted, None);
    assert!(
        refused.detail.contains("unix:uid:1001"),
        "{}",
        refused.detail
    );
}

#[test]
fn signature_of_another_key_is_refused() {
    let signed = Signed::program("payments");
    let other = signed.by(&PrivateKey::generate().unwrap());
    assert_eq!(
        judged(&signed, 1000, &[other]).unwrap_err().reason,
        Reason::ArtifactSignerUntrusted
    );
}

#[test]
fn signature_that_claims_another_product_is_refused() {
    let signed = Signed::program("frontend");
    assert_eq!(
        judged(&signed, 1000, std::slice::from_ref(&signed.evidence))
            .unwrap_err()
            .reason,
        Reason::ArtifactClaimMismatch
    );
}

#[test]
fn one_vouched_digest_of_an_artifact_is_enough_and_a_second_artifact_needs_its_own() {
    let signed = Signed::program("payments");
    let grants = grants(&signed);
    let other = Digest::sha256_of(b"another digest of the same program");
    let both = artifact(&[&other, &signed.digest]);
    let first = attested(&both, std::slice::from_ref(&signed.evidence), &grants);
    let workload = workload(1000, vec![both]);
    assert!(entitle(&workload, std::slice::from_ref(&first), &grants, NOW).is_ok());
    let helper = attested(&artifact(&[&other]), &[], &grants);
    assert_eq!(
        entitle(&workload, &[first, helper], &grants, NOW)
            .unwrap_err()
            .reason,
        Reason::ArtifactUnsigned
    );
}

#[test]
fn workload_without_artifacts_meets_nothing() {
    let signed = Signed::program("payments");
    let grants = grants(&signed);
    assert!(entitle(&workload(1000, Vec::new()), &[], &grants, NOW).is_err());
    let empty = Attested {
        artifact: artifact(&[]),
        vouched: Vec::new(),
    };
    assert!(entitle(&workload(1000, Vec::new()), &[empty], &grants, NOW).is_err());
}

#[test]
fn bad_signature_says_more_than_an_absent_one() {
    let signed = Signed::program("payments");
    let grants = grants(&signed);
    let other = Digest::sha256_of(b"other");
    let both = artifact(&[&other, &signed.digest]);
    let stranger = signed.by(&PrivateKey::generate().unwrap());
    let vouched = vec![
        Arc::new(evidence::verify(&other, &[], grants.signers())),
        Arc::new(evidence::verify(
            &signed.digest,
            &[stranger],
            grants.signers(),
        )),
    ];
    let refused = entitle(
        &workload(1000, vec![both.clone()]),
        &[Attested {
            artifact: both,
            vouched,
        }],
        &grants,
        NOW,
    )
    .unwrap_err();
    assert_eq!(refused.reason, Reason::ArtifactSignerUntrusted);
}

#[test]
fn process_outside_a_scope_is_told_whose_identity_it_would_have_been() {
    let signed = Signed::program("payments");
    let grants = grants(&signed);
    let refused = Refused::new(Reason::WorkloadNotIsolated, "no scope")
        .of("pid 7", vec!["unix:uid:1000".parse().unwrap()]);
    assert_eq!(nearest(refused, &grants).grant.as_deref(), Some("payments"));
    let stranger = Refused::new(Reason::WorkloadNotIsolated, "no scope")
        .of("pid 7", vec!["unix:uid:9".parse().unwrap()]);
    assert_eq!(nearest(stranger, &grants).grant, None);
}

#[test]
fn infrastructure_grant_is_met_by_its_signature_policy_alone() {
    let signed = Signed::program("anything");
    assert_eq!(
        judged(&signed, 901, std::slice::from_ref(&signed.evidence)).unwrap(),
        ["authz-service"]
    );
    let entitled = grants(&signed).named("authz-service").unwrap().terms.ttl;
    assert_eq!(entitled, Duration::from_hours(1));
}
