use std::collections::BTreeMap;
use std::time::SystemTime;

use evidence::vouched::{Claims, Format, Rejection};
use identity::SpkiHash;

use super::*;

/// The key of signer number `n`.
fn key(n: u8) -> SpkiHash {
    SpkiHash::from_hex(&format!("{n:02x}").repeat(32)).unwrap()
}

fn policy(signers: &[u8], threshold: usize) -> Arc<SignaturePolicy> {
    let signers = signers
        .iter()
        .map(|n| (key(*n), format!("signer-{n}").into()))
        .collect();
    Arc::new(SignaturePolicy {
        name: "release".into(),
        signers,
        threshold,
    })
}

fn signed(n: u8, claims: Claims) -> Signature {
    Signature {
        signer: key(n),
        claims,
        format: Format::Dsse,
    }
}

fn vouched(signatures: Vec<Signature>, rejected: &[Cause]) -> Vouched {
    let rejected = rejected
        .iter()
        .map(|cause| Rejection {
            cause: *cause,
            detail: format!("found {cause:?}"),
        })
        .collect();
    Vouched {
        subject: Digest::sha256_of(b"program"),
        signatures,
        rejected,
    }
}

fn reason(requirement: &Requirement, vouched: &Vouched) -> Option<Reason> {
    requirement
        .accepts(vouched, SystemTime::UNIX_EPOCH)
        .err()
        .map(|unmet| unmet.reason)
}

fn annotated(key: &str, value: &str) -> Claims {
    Claims {
        annotations: BTreeMap::from([(key.to_owned(), value.to_owned())]),
        ..Claims::default()
    }
}

fn claiming(claims: RequiredClaims, threshold: usize) -> Requirement {
    Requirement {
        claims,
        any_signed: false,
        ..Requirement::signed_by(policy(&[1, 2], threshold))
    }
}

#[test]
fn signature_of_a_signer_is_accepted() {
    let requirement = Requirement::signed_by(policy(&[1], 1));
    assert_eq!(
        reason(
            &requirement,
            &vouched(vec![signed(1, Claims::default())], &[])
        ),
        None
    );
}

#[test]
fn rejected_evidence_beside_a_good_signature_does_not_spoil_it() {
    let requirement = Requirement::signed_by(policy(&[1], 1));
    let causes = [
        Cause::Malformed,
        Cause::SignatureInvalid,
        Cause::SignerUntrusted,
        Cause::SubjectMismatch,
    ];
    assert_eq!(
        reason(
            &requirement,
            &vouched(vec![signed(1, Claims::default())], &causes)
        ),
        None
    );
}

#[test]
fn no_evidence_is_unsigned() {
    let requirement = Requirement::signed_by(policy(&[1], 1));
    assert_eq!(
        reason(&requirement, &vouched(vec![], &[])),
        Some(Reason::ArtifactUnsigned)
    );
}

#[test]
fn rejected_evidence_gives_its_own_reason() {
    let requirement = Requirement::signed_by(policy(&[1], 1));
    for (cause, expected) in [
        (Cause::Malformed, Reason::ArtifactMalformed),
        (Cause::SignatureInvalid, Reason::ArtifactSignatureInvalid),
        (Cause::SignerUntrusted, Reason::ArtifactSignerUntrusted),
        (Cause::SubjectMismatch, Reason::ArtifactImageMismatch),
    ] {
        assert_eq!(
            reason(&requirement, &vouched(vec![], &[cause])),
            Some(expected)
        );
    }
}

#[test]
fn of_several_rejections_tampering_is_named() {
    let requirement = Requirement::signed_by(policy(&[1], 1));
    let found = vouched(
        vec![],
        &[
            Cause::SignerUntrusted,
            Cause::Malformed,
            Cause::SignatureInvalid,
        ],
    );
    let unmet = requirement
        .accepts(&found, SystemTime::UNIX_EPOCH)
        .unwrap_err();
    assert_eq!(unmet.reason, Reason::ArtifactSignatureInvalid);
    assert_eq!(
        unmet.detail,
        "none of 3 pieces of evidence verified: found SignatureInvalid"
    );
}

#[test]
fn good_signature_of_a_key_outside_the_policy_is_untrusted() {
    let requirement = Requirement::signed_by(policy(&[1], 1));
    let found = vouched(vec![signed(9, Claims::default())], &[]);
    assert_eq!(
        reason(&requirement, &found),
        Some(Reason::ArtifactSignerUntrusted)
    );
}

#[test]
fn threshold_counts_distinct_signers_of_the_policy() {
    let requirement = Requirement::signed_by(policy(&[1, 2], 2));
    let twice = vouched(
        vec![signed(1, Claims::default()), signed(1, Claims::default())],
        &[],
    );
    assert_eq!(
        reason(&requirement, &twice),
        Some(Reason::ArtifactThresholdUnmet)
    );
    let stranger = vouched(
        vec![signed(1, Claims::default()), signed(9, Claims::default())],
        &[],
    );
    assert_eq!(
        reason(&requirement, &stranger),
        Some(Reason::ArtifactThresholdUnmet)
    );
    let both = vouched(
        vec![signed(1, Claims::default()), signed(2, Claims::default())],
        &[],
    );
    assert_eq!(reason(&requirement, &both), None);
}

#[test]
fn each_claim_must_hold_exactly() {
    let repository = |name: &str| Claims {
        repository: Some(name.to_owned()),
        ..Claims::default()
    };
    let named = |name: &str| Claims {
        names: vec!["other".to_owned(), name.to_owned()],
        ..Claims::default()
    };
    let text = |text: &str| Some(text.to_owned());
    let product = annotated("product", "payments").annotations;
    for (wanted, good, bad) in [
        (
            RequiredClaims {
                repository: text("r/pay"),
                ..RequiredClaims::default()
            },
            repository("r/pay"),
            repository("r/pay2"),
        ),
        (
            RequiredClaims {
                name: text("pay"),
                ..RequiredClaims::default()
            },
            named("pay"),
            named("payx"),
        ),
        (
            RequiredClaims {
                annotations: product,
                ..RequiredClaims::default()
            },
            annotated("product", "payments"),
            annotated("product", "rogue"),
        ),
    ] {
        let requirement = claiming(wanted, 1);
        assert_eq!(
            reason(&requirement, &vouched(vec![signed(1, good)], &[])),
            None
        );
        for bad in [bad, Claims::default()] {
            let found = vouched(vec![signed(1, bad)], &[]);
            assert_eq!(
                reason(&requirement, &found),
                Some(Reason::ArtifactClaimMismatch)
            );
        }
    }
}

#[test]
fn claims_must_be_made_by_as_many_signers_as_the_threshold() {
    let wanted = RequiredClaims {
        annotations: annotated("a", "b").annotations,
        ..RequiredClaims::default()
    };
    let requirement = claiming(wanted, 2);
    let one = vouched(
        vec![signed(1, annotated("a", "b")), signed(2, Claims::default())],
        &[],
    );
    let unmet = requirement
        .accepts(&one, SystemTime::UNIX_EPOCH)
        .unwrap_err();
    assert_eq!(unmet.reason, Reason::ArtifactClaimMismatch);
    assert_eq!(
        unmet.detail,
        "1 of 2 trusted signers say annotation `a=b`; 2 must"
    );
    let both = vouched(
        vec![
            signed(1, annotated("a", "b")),
            signed(2, annotated("a", "b")),
        ],
        &[],
    );
    assert_eq!(reason(&requirement, &both), None);
}

#[test]
fn claims_of_a_stranger_do_not_count() {
    let wanted = RequiredClaims {
        annotations: annotated("a", "b").annotations,
        ..RequiredClaims::default()
    };
    let found = vouched(
        vec![signed(1, Claims::default()), signed(9, annotated("a", "b"))],
        &[],
    );
    assert_eq!(
        reason(&claiming(wanted, 1), &found),
        Some(Reason::ArtifactClaimMismatch)
    );
}

#[test]
fn claims_are_not_put_together_from_two_signatures() {
    let annotations = BTreeMap::from([
        ("a".to_owned(), "1".to_owned()),
        ("b".to_owned(), "2".to_owned()),
    ]);
    let wanted = RequiredClaims {
        annotations,
        ..RequiredClaims::default()
    };
    let found = vouched(
        vec![
            signed(1, annotated("a", "1")),
            signed(1, annotated("b", "2")),
        ],
        &[],
    );
    assert_eq!(
        reason(&claiming(wanted, 1), &found),
        Some(Reason::ArtifactClaimMismatch)
    );
}

#[test]
fn digest_must_be_among_those_listed() {
    let listed = |digest| Requirement {
        digests: vec![digest],
        ..claiming(RequiredClaims::default(), 1)
    };
    let found = vouched(vec![signed(1, Claims::default())], &[]);
    assert_eq!(reason(&listed(Digest::sha256_of(b"program")), &found), None);
    assert_eq!(
        reason(&listed(Digest::sha256_of(b"other")), &found),
        Some(Reason::ArtifactClaimMismatch)
    );
}

#[test]
fn listed_digest_without_a_signature_is_still_unsigned() {
    let requirement = Requirement {
        digests: vec![Digest::sha256_of(b"program")],
        ..claiming(RequiredClaims::default(), 1)
    };
    assert_eq!(
        reason(&requirement, &vouched(vec![], &[])),
        Some(Reason::ArtifactUnsigned)
    );
}
