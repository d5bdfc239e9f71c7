use super::*;
use crate::{
    testing::{Ca, FRONTEND, acme, uri},
    x509_svid::chain_to_pem,
};

#[test]
fn bundle_survives_pem() {
    let roots = vec![Ca::root().der.clone(), Ca::root().der.clone()];
    let bundle = TrustBundle::new(acme(), roots.clone()).unwrap();
    assert_eq!(
        TrustBundle::from_pem(acme(), bundle.to_pem().as_bytes()).unwrap(),
        bundle
    );
    assert_eq!(bundle.roots(), roots);
    assert_eq!(
        bundle.to_der(),
        [roots[0].as_ref(), roots[1].as_ref()].concat()
    );
}

#[test]
fn bundle_without_roots_is_refused() {
    assert!(matches!(
        TrustBundle::new(acme(), Vec::new()),
        Err(InvalidTrustBundle::Empty)
    ));
}

#[test]
fn bundle_of_too_many_roots_is_refused() {
    let roots = vec![Ca::root().der; MAX_ROOTS + 1];
    assert!(matches!(
        TrustBundle::new(acme(), roots),
        Err(InvalidTrustBundle::TooLong)
    ));
}

#[test]
fn text_that_is_no_pem_is_refused() {
    assert!(matches!(
        TrustBundle::from_pem(acme(), b"hello"),
        Err(InvalidTrustBundle::Pem { .. })
    ));
}

#[test]
fn leaf_among_the_roots_is_refused_by_position() {
    let root = Ca::root();
    let pem = chain_to_pem(&[root.der.clone(), root.leaf(FRONTEND)]);
    assert!(matches!(
        TrustBundle::from_pem(acme(), pem.as_bytes()),
        Err(InvalidTrustBundle::Root { position: 2, .. })
    ));
}

#[test]
fn root_that_the_path_validator_cannot_use_is_refused() {
    let mut root = Ca::root().der.to_vec();
    // ECDSA with SHA-256 (1.2.840.10045.4.3.2) outside becomes SHA-384, which the inside does not say.
    let algorithm = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let at = root
        .windows(8)
        .rposition(|window| window == algorithm)
        .unwrap();
    root[at + 7] = 0x03;
    assert!(matches!(
        TrustBundle::new(acme(), vec![root.into()]),
        Err(InvalidTrustBundle::Anchor { position: 1, .. })
    ));
}

#[test]
fn root_of_another_trust_domain_is_refused() {
    let root = Ca::root_with(|params| params.subject_alt_names = vec![uri("spiffe://other.test")]);
    let error = TrustBundle::new(acme(), vec![root.der]).unwrap_err();
    assert!(matches!(
        error,
        InvalidTrustBundle::WrongTrustDomain { position: 1, found } if found.as_str() == "other.test"
    ));
}

#[test]
fn bundle_is_found_by_its_own_trust_domain_alone() {
    let bundles: TrustBundles = [Ca::root().bundle()].into_iter().collect();
    assert!(bundles.get(&acme()).is_some());
    assert!(
        bundles
            .get(&TrustDomain::parse("other.test").unwrap())
            .is_none()
    );
    assert_eq!(bundles.iter().count(), 1);
    assert!(!bundles.is_empty() && TrustBundles::default().is_empty());
}
