use super::*;
use crate::testing::{Ca, FRONTEND, HOUR, extension, now, valid_for};

#[test]
fn leaf_of_a_root_is_trusted() {
    let root = Ca::root();
    assert!(verify_chain(&root.leaf(FRONTEND), &[], &root.bundle(), now()).is_ok());
}

#[test]
fn leaf_of_an_intermediate_is_trusted_with_it_alone() {
    let root = Ca::root();
    let intermediate = root.intermediate();
    let leaf = intermediate.leaf(FRONTEND);
    let chain = std::slice::from_ref(&intermediate.der);
    assert!(verify_chain(&leaf, chain, &root.bundle(), now()).is_ok());
    assert!(matches!(
        verify_chain(&leaf, &[], &root.bundle(), now()),
        Err(UntrustedChain::SignerUnknown)
    ));
}

#[test]
fn leaf_of_another_root_of_the_same_name_is_not() {
    let error = verify_chain(&Ca::root().leaf(FRONTEND), &[], &Ca::root().bundle(), now());
    assert!(error.is_err());
}

/// SPEC(X509-SVID §5.2): the bundle is the one of the leaf's trust domain; bundles are never pooled
#[test]
fn leaf_of_another_trust_domain_is_not_even_if_the_root_signed_it() {
    let root = Ca::root();
    let error = verify_chain(
        &root.leaf("spiffe://other.test/x"),
        &[],
        &root.bundle(),
        now(),
    );
    assert!(matches!(
        error,
        Err(UntrustedChain::WrongTrustDomain { .. })
    ));
}

/// SPEC(X509-SVID §5.2): RFC 5280 path validation
#[test]
fn chain_is_trusted_inside_its_validity_alone() {
    let root = Ca::root();
    let leaf = root.leaf(FRONTEND);
    let at = |time| verify_chain(&leaf, &[], &root.bundle(), time);
    assert!(at(now() + HOUR).is_ok());
    assert!(matches!(at(now() + HOUR * 2), Err(UntrustedChain::Expired)));
    assert!(matches!(at(now() - HOUR), Err(UntrustedChain::NotYetValid)));
    assert!(matches!(
        at(SystemTime::UNIX_EPOCH - HOUR),
        Err(UntrustedChain::NotYetValid)
    ));
}

#[test]
fn expired_intermediate_breaks_the_chain() {
    let root = Ca::root();
    let intermediate = root.intermediate_with(|params| valid_for(params, HOUR));
    let leaf = intermediate.leaf_with(FRONTEND, |params| valid_for(params, HOUR * 3));
    let chain = std::slice::from_ref(&intermediate.der);
    assert!(matches!(
        verify_chain(&leaf, chain, &root.bundle(), now() + HOUR * 2),
        Err(UntrustedChain::Expired)
    ));
}

#[test]
fn intermediate_that_may_sign_no_further_authority_ends_the_path() {
    let root = Ca::root();
    let first = root.intermediate();
    let second = first.intermediate();
    let leaf = second.leaf(FRONTEND);
    let chain = [second.der.clone(), first.der.clone()];
    assert!(matches!(
        verify_chain(&leaf, &chain, &root.bundle(), now()),
        Err(UntrustedChain::Untrusted { .. })
    ));
}

#[test]
fn leaf_cannot_sign_a_leaf() {
    let root = Ca::root();
    let intermediate = root.intermediate_with(|params| params.is_ca = rcgen::IsCa::ExplicitNoCa);
    let leaf = intermediate.leaf(FRONTEND);
    let chain = std::slice::from_ref(&intermediate.der);
    assert!(verify_chain(&leaf, chain, &root.bundle(), now()).is_err());
}

#[test]
fn unknown_critical_extension_is_not_ignored() {
    let root = Ca::root();
    let leaf = root.leaf_with(FRONTEND, |params| {
        let mut unknown = extension(&[1, 3, 6, 1, 4, 1, 99999, 1], b"\x05\x00");
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    });
    assert!(matches!(
        verify_chain(&leaf, &[], &root.bundle(), now()),
        Err(UntrustedChain::Untrusted { .. })
    ));
}

#[test]
fn unknown_extension_that_is_not_critical_is_ignored() {
    let root = Ca::root();
    let leaf = root.leaf_with(FRONTEND, |params| {
        params.custom_extensions = vec![extension(&[1, 3, 6, 1, 4, 1, 99999, 1], b"\x05\x00")];
    });
    assert!(verify_chain(&leaf, &[], &root.bundle(), now()).is_ok());
}

#[test]
fn too_many_intermediates_are_refused() {
    let root = Ca::root();
    let chain = vec![root.der.clone(); MAX_INTERMEDIATES + 1];
    assert!(matches!(
        verify_chain(&root.leaf(FRONTEND), &chain, &root.bundle(), now()),
        Err(UntrustedChain::TooLong)
    ));
}

#[test]
fn certificate_that_is_no_leaf_is_refused_with_its_rule() {
    let root = Ca::root();
    assert!(matches!(
        verify_chain(&root.der, &[], &root.bundle(), now()),
        Err(UntrustedChain::Leaf(InvalidLeaf::UriMissing))
    ));
}

#[test]
fn any_flipped_byte_of_the_leaf_breaks_its_chain() {
    let root = Ca::root();
    let leaf = root.leaf(FRONTEND).to_vec();
    for at in 0..leaf.len() {
        let mut flipped = leaf.clone();
        flipped[at] ^= 1;
        assert!(
            verify_chain(&flipped, &[], &root.bundle(), now()).is_err(),
            "byte {at}"
        );
    }
}
