use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::*;
use crate::testing::{Ca, FRONTEND, HOUR, dns, extension, now, uri};

fn refused(change: impl FnOnce(&mut rcgen::CertificateParams)) -> InvalidLeaf {
    Leaf::parse(&Ca::root().leaf_with(FRONTEND, change)).unwrap_err()
}

#[test]
fn leaf_that_keeps_every_rule_is_read() {
    let der = Ca::root().leaf_with(FRONTEND, |params| {
        params.subject_alt_names.push(dns("frontend.acme.test"));
    });
    let leaf = Leaf::parse(&der).unwrap();
    assert_eq!(leaf.spiffe_id.as_str(), FRONTEND);
    assert_eq!(leaf.dns_names, ["frontend.acme.test"]);
    assert_eq!(leaf.spki, leaf.public_key.hash());
    assert_eq!(leaf.serial, "f001");
    assert_eq!((leaf.not_before, leaf.not_after), (now(), now() + HOUR));
}

#[test]
fn validity_includes_both_ends() {
    let leaf = Leaf::parse(&Ca::root().leaf(FRONTEND)).unwrap();
    assert!(leaf.is_valid_at(now()) && leaf.is_valid_at(now() + HOUR));
    assert!(!leaf.is_valid_at(now() - HOUR) && !leaf.is_valid_at(now() + HOUR * 2));
}

/// SPEC(X509-SVID §2): exactly one URI name, a workload's SPIFFE ID
#[test]
fn second_uri_name_is_rejected() {
    let error = refused(|params| {
        params
            .subject_alt_names
            .push(uri("spiffe://acme.test/other"));
    });
    assert!(matches!(error, InvalidLeaf::SeveralUris { count: 2 }));
}

#[test]
fn dns_name_that_reads_as_a_spiffe_id_is_no_identity() {
    let error = refused(|params| params.subject_alt_names = vec![dns(FRONTEND)]);
    assert!(matches!(error, InvalidLeaf::UriMissing));
}

#[test]
fn leaf_without_names_is_rejected() {
    assert!(matches!(
        refused(|params| params.subject_alt_names = Vec::new()),
        InvalidLeaf::UriMissing
    ));
}

#[test]
fn uri_name_that_is_no_spiffe_id_is_rejected() {
    for name in [
        "https://acme.test/x",
        "spiffe://acme.test",
        "spiffe://acme.test/a//b",
    ] {
        let error = refused(|params| params.subject_alt_names = vec![uri(name)]);
        assert!(matches!(error, InvalidLeaf::SpiffeId { uri, .. } if uri == name));
    }
}

/// SPEC(X509-SVID §2): names are critical when the subject is empty (RFC 5280 §4.1.2.6)
#[test]
fn empty_subject_needs_critical_names() {
    let names = b"\x30\x17\x86\x15spiffe://acme.test/ab";
    let error = refused(|params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = Vec::new();
        params.custom_extensions = vec![extension(&[2, 5, 29, 17], names)];
    });
    assert!(matches!(error, InvalidLeaf::NamesNotCritical), "{error}");
    let critical = Ca::root().leaf_with(FRONTEND, |params| {
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = Vec::new();
        let mut names = extension(&[2, 5, 29, 17], names);
        names.set_criticality(true);
        params.custom_extensions = vec![names];
    });
    assert!(Leaf::parse(&critical).is_ok());
}

/// SPEC(X509-SVID §4.1): the `cA` field of a leaf is false
#[test]
fn authority_is_no_leaf() {
    let error = refused(|params| params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
    assert!(matches!(error, InvalidLeaf::IsAuthority));
}

#[test]
fn leaf_without_basic_constraints_is_read() {
    let der = Ca::root().leaf_with(FRONTEND, |params| params.is_ca = IsCa::NoCa);
    assert!(Leaf::parse(&der).is_ok());
}

/// SPEC(X509-SVID §4.3): key usage is present, critical, with `digitalSignature` and without `keyCertSign` and `cRLSign`
#[test]
fn key_usage_keeps_each_of_its_rules() {
    assert!(matches!(
        refused(|params| params.key_usages = Vec::new()),
        InvalidLeaf::KeyUsageMissing
    ));
    let not_critical = refused(|params| {
        params.key_usages = Vec::new();
        params.custom_extensions = vec![extension(&[2, 5, 29, 15], b"\x03\x02\x07\x80")];
    });
    assert!(matches!(not_critical, InvalidLeaf::KeyUsageNotCritical));
    let uses = |extra: &[KeyUsagePurpose]| {
        let mut uses = vec![KeyUsagePurpose::DigitalSignature];
        uses.extend_from_slice(extra);
        uses
    };
    assert!(matches!(
        refused(|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        InvalidLeaf::NotForSignatures
    ));
    assert!(matches!(
        refused(|params| params.key_usages = uses(&[KeyUsagePurpose::KeyCertSign])),
        InvalidLeaf::ForCertificates
    ));
    assert!(matches!(
        refused(|params| params.key_usages = uses(&[KeyUsagePurpose::CrlSign])),
        InvalidLeaf::ForRevocationLists
    ));
}

/// SPEC(X509-SVID §4.4): when extended key usage is present it holds both `serverAuth` and `clientAuth`
#[test]
fn extended_key_usage_is_absent_or_for_both_ends() {
    let absent = Ca::root().leaf_with(FRONTEND, |params| params.extended_key_usages = Vec::new());
    assert!(Leaf::parse(&absent).is_ok());
    for usage in [
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::Any,
    ] {
        let error = refused(|params| params.extended_key_usages = vec![usage]);
        assert!(matches!(error, InvalidLeaf::NotForBothEnds));
    }
}

#[test]
fn key_of_another_kind_is_rejected() {
    let der = Ca::root().leaf(FRONTEND).to_vec();
    // P-256 (1.2.840.10045.3.1.7) becomes a curve of the same length that does not exist.
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let at = der
        .windows(curve.len())
        .position(|window| window == curve)
        .unwrap();
    let mut der = der;
    der[at + 7] = 0x08;
    assert!(matches!(
        Leaf::parse(&der),
        Err(InvalidLeaf::PublicKey { .. })
    ));
}
