use std::time::Duration;

use bytes::Bytes;
use identity::spiffe_id::TrustDomain;
use proptest::prelude::*;

use super::*;
use crate::snapshot::Intermediate;
use crate::testing::{Authority, FRONTEND, HOUR, Leaf as Svid, Shape, noon, url_encode};

/// A root, an intermediate that agents brought, and trust in both.
struct World {
    root: Authority,
    issuer: Authority,
    trust: Trust,
}

fn world() -> World {
    let root = Authority::root("root");
    let issuer = root.intermediate("issuer", noon() + 10 * HOUR);
    let trust = trusting(&root, &[(&issuer, noon() + 10 * HOUR)]);
    World {
        root,
        issuer,
        trust,
    }
}

fn trusting(root: &Authority, intermediates: &[(&Authority, SystemTime)]) -> Trust {
    let intermediates = intermediates
        .iter()
        .map(|(authority, not_after)| Intermediate {
            der: authority.der.clone(),
            not_after: *not_after,
        });
    Trust {
        generation: 1,
        bundles: [root.bundle("acme.test")].into_iter().collect(),
        intermediates: [(
            TrustDomain::parse("acme.test").unwrap(),
            intermediates.collect(),
        )]
        .into(),
    }
}

fn asked(certificate: Bytes, principal: &str) -> RawCheck {
    RawCheck {
        certificate,
        principal: Bytes::copy_from_slice(principal.as_bytes()),
        ..RawCheck::default()
    }
}

fn shown(svid: &Svid) -> RawCheck {
    asked(svid.field(), FRONTEND)
}

fn reason(raw: &RawCheck, trust: &Trust) -> Reason {
    Peers::new(8)
        .caller(raw, trust, noon())
        .expect_err("it is refused")
        .reason
}

#[test]
fn certificate_chained_by_an_agents_intermediate_is_a_caller() {
    let world = world();
    let svid = world.issuer.leaf(&Shape::default());
    let caller = Peers::new(8)
        .caller(&shown(&svid), &world.trust, noon())
        .unwrap();
    assert_eq!(caller.spiffe_id.as_str(), FRONTEND);
    assert_eq!(caller.key, svid.key());
    assert_eq!(caller.not_after, noon() + HOUR);
}

#[test]
fn certificate_of_the_root_itself_is_a_caller() {
    let world = world();
    let svid = world.root.leaf(&Shape::default());
    assert!(
        Peers::new(8)
            .caller(&shown(&svid), &world.trust, noon())
            .is_ok()
    );
}

#[test]
fn no_certificate_is_identity_missing() {
    let World { trust, .. } = world();
    assert_eq!(
        reason(&asked(Bytes::new(), ""), &trust),
        Reason::IdentityMissing
    );
    assert_eq!(
        reason(&asked(Bytes::new(), FRONTEND), &trust),
        Reason::IdentityMissing
    );
}

#[test]
fn malformed_certificates_are_identity_malformed() {
    let World { issuer, trust, .. } = world();
    let dns = issuer.leaf(&Shape {
        uris: &[],
        dns: &[FRONTEND],
        ..Shape::default()
    });
    let nameless = issuer.leaf(&Shape {
        uris: &[],
        ..Shape::default()
    });
    let upper = issuer.leaf(&Shape {
        uris: &["SPIFFE://acme.test/a"],
        ..Shape::default()
    });
    let dotted = issuer.leaf(&Shape {
        uris: &["spiffe://acme.test/a/../b"],
        ..Shape::default()
    });
    let rootless = issuer.leaf(&Shape {
        uris: &["spiffe://acme.test"],
        ..Shape::default()
    });
    let web = issuer.leaf(&Shape {
        uris: &["https://acme.test/a"],
        ..Shape::default()
    });
    let field = issuer.leaf(&Shape::default()).field();
    for (certificate, what) in [
        (dns.field(), "a DNS name that reads as a SPIFFE ID"),
        (nameless.field(), "no name"),
        (upper.field(), "an upper-case scheme"),
        (dotted.field(), "dot segments"),
        (rootless.field(), "no path"),
        (web.field(), "another scheme"),
        (issuer_field(&issuer), "an authority's certificate"),
        (Bytes::from_static(b"%zz"), "a broken escape"),
        (Bytes::from_static(b"\xff\xfe"), "bytes"),
        (
            Bytes::from_static(b"-----BEGIN%20CERTIFICATE-----%0A-----END%20CERTIFICATE-----%0A"),
            "an empty PEM",
        ),
        (field.slice(..field.len() / 2), "half a PEM"),
        (
            Bytes::from(vec![b'a'; MAX_FIELD_BYTES + 1]),
            "too long a field",
        ),
    ] {
        assert_eq!(
            reason(&asked(certificate, FRONTEND), &trust),
            Reason::IdentityMalformed,
            "{what}"
        );
    }
}

fn issuer_field(authority: &Authority) -> Bytes {
    url_encode(&identity::x509_svid::chain_to_pem([&authority.der]))
}

#[test]
fn several_identities_are_identity_ambiguous() {
    let World { issuer, trust, .. } = world();
    let two = issuer.leaf(&Shape {
        uris: &[FRONTEND, "spiffe://acme.test/other"],
        ..Shape::default()
    });
    let mixed = issuer.leaf(&Shape {
        uris: &["https://other.test/x", FRONTEND],
        ..Shape::default()
    });
    let one = issuer.leaf(&Shape::default());
    let twice = [one.field(), one.field()].concat();
    for (raw, what) in [
        (asked(two.field(), FRONTEND), "two SPIFFE IDs"),
        (
            asked(mixed.field(), "https://other.test/x"),
            "another URI first",
        ),
        (
            asked(one.field(), "spiffe://acme.test/other"),
            "another principal",
        ),
        (asked(one.field(), ""), "no principal"),
        (
            asked(one.field(), "SPIFFE://acme.test/ns/web/sa/frontend"),
            "a principal that only reads alike",
        ),
        (asked(twice.into(), FRONTEND), "two certificates"),
    ] {
        assert_eq!(reason(&raw, &trust), Reason::IdentityAmbiguous, "{what}");
    }
}

#[test]
fn certificate_outside_its_validity_is_identity_expired() {
    let World { issuer, trust, .. } = world();
    let old = issuer.leaf(&Shape {
        not_after: noon() - Duration::from_secs(1),
        ..Shape::default()
    });
    let new = issuer.leaf(&Shape {
        not_before: noon() + Duration::from_secs(1),
        ..Shape::default()
    });
    assert_eq!(reason(&shown(&old), &trust), Reason::IdentityExpired);
    assert_eq!(reason(&shown(&new), &trust), Reason::IdentityExpired);
}

#[test]
fn certificate_that_no_root_leads_to_is_identity_untrusted() {
    let World {
        root,
        issuer,
        trust,
    } = world();
    let stranger = Authority::root("root");
    let other_domain = issuer.leaf(&Shape {
        uris: &["spiffe://other.test/a"],
        ..Shape::default()
    });
    let svid = issuer.leaf(&Shape::default());
    let expired = trusting(&root, &[(&issuer, noon() - HOUR)]);
    let cases = [
        (
            shown(&stranger.leaf(&Shape::default())),
            &trust,
            "a stranger's root of the same name",
        ),
        (
            asked(other_domain.field(), "spiffe://other.test/a"),
            &trust,
            "a trust domain without a bundle",
        ),
        (
            shown(&svid),
            &trusting(&root, &[]),
            "an intermediate that no agent brought",
        ),
        (shown(&svid), &expired, "an intermediate that has ended"),
    ];
    for (raw, trust, what) in cases {
        assert_eq!(reason(&raw, trust), Reason::IdentityUntrusted, "{what}");
    }
}

#[test]
fn bundles_of_trust_domains_are_never_pooled() {
    let World {
        issuer, mut trust, ..
    } = world();
    let other = Authority::root("other");
    trust.bundles = trust
        .bundles
        .iter()
        .cloned()
        .chain([other.bundle("other.test")])
        .collect();
    let cross = other.leaf(&Shape::default());
    assert_eq!(reason(&shown(&cross), &trust), Reason::IdentityUntrusted);
    let cross = issuer.leaf(&Shape {
        uris: &["spiffe://other.test/a"],
        ..Shape::default()
    });
    assert_eq!(
        reason(&asked(cross.field(), "spiffe://other.test/a"), &trust),
        Reason::IdentityUntrusted
    );
}

#[test]
fn many_intermediates_shut_nobody_out() {
    let root = Authority::root("root");
    let until = noon() + 10 * HOUR;
    let authorities: Vec<_> = (0..20)
        .map(|_| root.intermediate("issuer", until))
        .collect();
    let known: Vec<_> = authorities
        .iter()
        .map(|authority| (authority, until))
        .collect();
    let trust = trusting(&root, &known);
    for authority in &authorities {
        let svid = authority.leaf(&Shape::default());
        assert!(Peers::new(8).caller(&shown(&svid), &trust, noon()).is_ok());
    }
}

#[test]
fn remembered_certificate_ends_with_its_validity() {
    let World { issuer, trust, .. } = world();
    let svid = shown(&issuer.leaf(&Shape::default()));
    let peers = Peers::new(8);
    assert!(peers.caller(&svid, &trust, noon()).is_ok());
    assert!(peers.caller(&svid, &trust, noon() + HOUR).is_ok());
    let late = peers
        .caller(&svid, &trust, noon() + HOUR + Duration::from_secs(1))
        .unwrap_err();
    assert_eq!(late.reason, Reason::IdentityExpired);
}

#[test]
fn remembered_certificate_ends_with_its_intermediate() {
    let World { root, issuer, .. } = world();
    let soon = noon() + HOUR / 2;
    let trust = trusting(&root, &[(&issuer, soon)]);
    let svid = shown(&issuer.leaf(&Shape::default()));
    let peers = Peers::new(8);
    assert!(peers.caller(&svid, &trust, noon()).is_ok());
    let late = peers
        .caller(&svid, &trust, soon + Duration::from_secs(1))
        .unwrap_err();
    assert_eq!(late.reason, Reason::IdentityUntrusted);
}

#[test]
fn remembered_certificate_is_chained_again_when_trust_changes() {
    let World { issuer, trust, .. } = world();
    let svid = shown(&issuer.leaf(&Shape::default()));
    let peers = Peers::new(8);
    assert!(peers.caller(&svid, &trust, noon()).is_ok());
    let mut changed = trusting(&Authority::root("new"), &[]);
    changed.generation = 2;
    assert_eq!(
        peers.caller(&svid, &changed, noon()).unwrap_err().reason,
        Reason::IdentityUntrusted
    );
}

#[test]
fn remembered_certificate_is_chained_again_when_the_clock_goes_back() {
    let World { issuer, trust, .. } = world();
    let svid = shown(&issuer.leaf(&Shape::default()));
    let peers = Peers::new(8);
    assert!(peers.caller(&svid, &trust, noon()).is_ok());
    let early = peers.caller(&svid, &trust, noon() - 2 * HOUR).unwrap_err();
    assert_eq!(early.reason, Reason::IdentityExpired);
}

#[test]
fn remembered_certificate_is_held_against_each_principal() {
    let World { issuer, trust, .. } = world();
    let svid = issuer.leaf(&Shape::default());
    let peers = Peers::new(8);
    assert!(peers.caller(&shown(&svid), &trust, noon()).is_ok());
    let other = peers
        .caller(
            &asked(svid.field(), "spiffe://acme.test/other"),
            &trust,
            noon(),
        )
        .unwrap_err();
    assert_eq!(other.reason, Reason::IdentityAmbiguous);
}

#[test]
fn caller_survives_json() {
    let World { issuer, trust, .. } = world();
    let caller = Peers::new(8)
        .caller(&shown(&issuer.leaf(&Shape::default())), &trust, noon())
        .unwrap();
    let json = serde_json::to_string(&caller).unwrap();
    assert_eq!(
        serde_json::from_str::<Caller>(&json).unwrap(),
        caller,
        "{json}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_are_refused(certificate in any::<Vec<u8>>(), principal in any::<Vec<u8>>()) {
        let raw = RawCheck { certificate: certificate.into(), principal: principal.into(), ..RawCheck::default() };
        let World { trust, .. } = world();
        prop_assert!(Peers::new(8).caller(&raw, &trust, noon()).is_err());
    }
}
