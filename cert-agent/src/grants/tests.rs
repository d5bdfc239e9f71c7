use super::{
    testing::{POLICY, Signed, join, reserved},
    *,
};

fn refused(documents: &str, reserved: &Reserved) -> Vec<InvalidGrants> {
    join(documents, &Signed::program("payments"), reserved).unwrap_err()
}

#[test]
fn reserved_grants_stand_beside_those_of_the_policy() {
    let grants = join(POLICY, &Signed::program("payments"), &reserved()).unwrap();
    assert_eq!(grants.named("payments").unwrap().origin, Origin::Policy);
    assert_eq!(
        grants.named("authz-service").unwrap().origin,
        Origin::Infrastructure
    );
    assert!(grants.named("nobody").is_none());
}

#[test]
fn policy_cannot_grant_an_identity_that_the_configuration_reserves() {
    let mut reserved = reserved();
    reserved.infrastructure[0].spiffe_id =
        SpiffeId::parse("spiffe://acme.test/ns/pay/sa/payments").unwrap();
    assert!(matches!(
        refused(POLICY, &reserved).as_slice(),
        [InvalidGrants::Reserved { .. }]
    ));
}

#[test]
fn grant_of_another_trust_domain_is_refused() {
    let errors = refused(
        &POLICY.replace("acme.test/ns", "other.test/ns"),
        &reserved(),
    );
    assert!(
        matches!(
            errors.as_slice(),
            [InvalidGrants::ForeignTrustDomain { .. }]
        ),
        "{errors:?}"
    );
}

#[test]
fn reserved_grant_under_no_signature_policy_is_refused() {
    let mut reserved = reserved();
    reserved.infrastructure[0].signed_by = "nobody".to_owned();
    assert!(matches!(
        refused(POLICY, &reserved).as_slice(),
        [InvalidGrants::UnknownSignaturePolicy { .. }]
    ));
}

#[test]
fn reserved_grant_with_the_name_of_another_is_refused() {
    let mut reserved = reserved();
    reserved.infrastructure[0].name = "payments".to_owned();
    assert!(matches!(
        refused(POLICY, &reserved).as_slice(),
        [InvalidGrants::RepeatedName { .. }]
    ));
}
