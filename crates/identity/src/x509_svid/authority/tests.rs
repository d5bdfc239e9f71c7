use rcgen::{IsCa, KeyUsagePurpose};

use super::*;
use crate::testing::{Ca, FRONTEND, HOUR, now, uri, valid_for};

fn refused(change: impl FnOnce(&mut rcgen::CertificateParams)) -> InvalidAuthority {
    Authority::parse(&Ca::root_with(change).der).unwrap_err()
}

#[test]
fn authority_that_keeps_every_rule_is_read() {
    let root = Ca::root_with(|params| params.subject_alt_names = vec![uri("spiffe://acme.test")]);
    let authority = Authority::parse(&root.der).unwrap();
    assert_eq!(authority.trust_domain.unwrap().as_str(), "acme.test");
    assert_eq!(authority.not_after, now() + HOUR * 24);
    assert_eq!(authority.spki, authority.public_key.hash());
    assert!(
        Authority::parse(&Ca::root().der)
            .unwrap()
            .trust_domain
            .is_none()
    );
}

/// SPEC(X509-SVID §4.1): the `cA` field of a signing certificate is true
#[test]
fn leaf_is_no_authority() {
    assert!(matches!(
        refused(|params| params.is_ca = IsCa::ExplicitNoCa),
        InvalidAuthority::NotAuthority
    ));
    assert!(matches!(
        Authority::parse(&Ca::root().leaf(FRONTEND)),
        Err(InvalidAuthority::NotAuthority)
    ));
}

/// SPEC(X509-SVID §4.3): a signing certificate has `keyCertSign`
#[test]
fn authority_must_be_for_certificates() {
    for usages in [vec![KeyUsagePurpose::CrlSign], Vec::new()] {
        let error = refused(|params| params.key_usages = usages);
        assert!(matches!(error, InvalidAuthority::NotForCertificates));
    }
}

/// SPEC(X509-SVID §3.2): a signing certificate's SPIFFE ID, if it has one, has no path
#[test]
fn authority_has_no_path() {
    let error = refused(|params| params.subject_alt_names = vec![uri(FRONTEND)]);
    assert!(matches!(error, InvalidAuthority::TrustDomain { uri, .. } if uri == FRONTEND));
}

#[test]
fn authority_has_one_uri_name_at_most() {
    let error = refused(|params| {
        params.subject_alt_names = vec![uri("spiffe://acme.test"), uri("spiffe://other.test")];
    });
    assert!(matches!(error, InvalidAuthority::SeveralUris { count: 2 }));
}

#[test]
fn garbage_is_no_authority() {
    assert!(matches!(
        Authority::parse(b"x"),
        Err(InvalidAuthority::Certificate(_))
    ));
}

#[test]
fn key_of_another_kind_is_rejected() {
    let mut der = Ca::root().der.to_vec();
    let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let at = der
        .windows(curve.len())
        .position(|window| window == curve)
        .unwrap();
    der[at + 7] = 0x08;
    assert!(matches!(
        Authority::parse(&der),
        Err(InvalidAuthority::PublicKey { .. })
    ));
}

#[test]
fn intermediate_of_the_bundles_root_is_verified() {
    let root = Ca::root();
    let intermediate = root.intermediate();
    let authority = verify_authority(&intermediate.der, &root.bundle(), now()).unwrap();
    assert_eq!(authority, Authority::parse(&intermediate.der).unwrap());
}

#[test]
fn intermediate_of_another_root_is_not() {
    let intermediate = Ca::root().intermediate();
    assert!(matches!(
        verify_authority(&intermediate.der, &Ca::root().bundle(), now()),
        Err(UntrustedChain::SignerUnknown)
    ));
}

#[test]
fn intermediate_outside_its_validity_is_not() {
    let root = Ca::root();
    let intermediate = root.intermediate_with(|params| valid_for(params, HOUR));
    let at = |time| verify_authority(&intermediate.der, &root.bundle(), time);
    assert!(at(now() + HOUR).is_ok());
    assert!(matches!(at(now() - HOUR), Err(UntrustedChain::NotYetValid)));
    assert!(matches!(at(now() + HOUR * 2), Err(UntrustedChain::Expired)));
}

#[test]
fn intermediate_of_another_trust_domain_is_not() {
    let root = Ca::root();
    let intermediate = root
        .intermediate_with(|params| params.subject_alt_names = vec![uri("spiffe://other.test")]);
    assert!(matches!(
        verify_authority(&intermediate.der, &root.bundle(), now()),
        Err(UntrustedChain::WrongTrustDomain { .. })
    ));
}

#[test]
fn leaf_is_no_intermediate() {
    let root = Ca::root();
    assert!(matches!(
        verify_authority(&root.leaf(FRONTEND), &root.bundle(), now()),
        Err(UntrustedChain::Authority(InvalidAuthority::NotAuthority))
    ));
}
