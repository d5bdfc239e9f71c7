use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn refused(text: &str) -> InvalidSpiffeId {
    SpiffeId::parse(text).unwrap_err()
}

#[test]
fn parts_of_an_id_are_found() {
    let id = SpiffeId::parse("spiffe://acme.test/ns/web/sa/Front-end_1.0").unwrap();
    assert_eq!(id.trust_domain().as_str(), "acme.test");
    assert_eq!(id.path(), "/ns/web/sa/Front-end_1.0");
    assert_eq!(
        id.segments().collect::<Vec<_>>(),
        ["ns", "web", "sa", "Front-end_1.0"]
    );
    assert_eq!(id.to_string(), "spiffe://acme.test/ns/web/sa/Front-end_1.0");
}

#[test]
fn other_scheme_is_refused() {
    for text in [
        "",
        "acme.test/x",
        "https://acme.test/x",
        "spiffe:/acme.test/x",
        "SPIFFE://acme.test/x",
    ] {
        assert_eq!(refused(text), InvalidSpiffeId::Scheme, "{text}");
    }
}

/// SPEC(SPIFFE-ID §2.3): 2048 bytes must be supported
#[test]
fn longest_id_is_accepted_and_one_byte_more_is_refused() {
    let prefix = "spiffe://acme.test/";
    let longest = format!("{prefix}{}", "a".repeat(MAX_SPIFFE_ID_BYTES - prefix.len()));
    assert!(SpiffeId::parse(&longest).is_ok());
    assert_eq!(refused(&format!("{longest}a")), InvalidSpiffeId::TooLong);
}

/// SPEC(SPIFFE-ID §2.1): lower case letters, digits, `.`, `-` and `_`; no port, no user information, no percent encoding
#[test]
fn trust_domain_that_is_not_canonical_is_refused() {
    for (text, found) in [
        ("spiffe://Acme.test/x", 'A'),
        ("spiffe://acme.test:8443/x", ':'),
        ("spiffe://user@acme.test/x", '@'),
        ("spiffe://acme%2etest/x", '%'),
        ("spiffe://acme.tést/x", 'é'),
    ] {
        let expected = InvalidSpiffeId::TrustDomain(InvalidTrustDomain::Character { found });
        assert_eq!(refused(text), expected, "{text}");
    }
    assert_eq!(
        refused("spiffe:///x"),
        InvalidSpiffeId::TrustDomain(InvalidTrustDomain::Empty)
    );
    let long = format!("spiffe://{}/x", "a".repeat(MAX_TRUST_DOMAIN_BYTES + 1));
    assert_eq!(
        refused(&long),
        InvalidSpiffeId::TrustDomain(InvalidTrustDomain::TooLong)
    );
}

#[test]
fn id_of_a_trust_domain_is_no_workload() {
    assert_eq!(refused("spiffe://acme.test"), InvalidSpiffeId::PathMissing);
    assert_eq!(refused("spiffe://acme.test/"), InvalidSpiffeId::PathMissing);
}

/// SPEC(SPIFFE-ID §2.2): segments are not empty, not `.` or `..`, and of `[a-zA-Z0-9._-]`
#[test]
fn path_that_is_not_canonical_is_refused() {
    for text in [
        "spiffe://acme.test//x",
        "spiffe://acme.test/x/",
        "spiffe://acme.test/x//y",
    ] {
        assert_eq!(refused(text), InvalidSpiffeId::SegmentEmpty, "{text}");
    }
    for text in ["spiffe://acme.test/.", "spiffe://acme.test/x/../y"] {
        assert_eq!(refused(text), InvalidSpiffeId::SegmentRelative, "{text}");
    }
    for (text, found) in [
        ("spiffe://acme.test/x%2fy", '%'),
        ("spiffe://acme.test/x?y", '?'),
        ("spiffe://acme.test/x#y", '#'),
        ("spiffe://acme.test/x y", ' '),
        ("spiffe://acme.test/x\0", '\0'),
        ("spiffe://acme.test/ü", 'ü'),
    ] {
        assert_eq!(
            refused(text),
            InvalidSpiffeId::PathCharacter { found },
            "{text}"
        );
    }
}

#[test]
fn trust_domain_has_a_uri_of_its_own() {
    let acme = TrustDomain::parse("acme.test").unwrap();
    assert_eq!(acme.spiffe_uri(), "spiffe://acme.test");
    assert_eq!(
        TrustDomain::parse_spiffe_uri("spiffe://acme.test").unwrap(),
        acme
    );
    assert_eq!(
        TrustDomain::parse_spiffe_uri("acme.test"),
        Err(InvalidTrustDomain::Scheme)
    );
    assert_eq!(
        TrustDomain::parse_spiffe_uri("spiffe://acme.test/x"),
        Err(InvalidTrustDomain::Character { found: '/' })
    );
}

#[test]
fn json_is_the_text() {
    let id: SpiffeId = serde_json::from_str("\"spiffe://acme.test/x\"").unwrap();
    assert_eq!(
        serde_json::to_string(&id).unwrap(),
        "\"spiffe://acme.test/x\""
    );
    let error = serde_json::from_str::<SpiffeId>("\"spiffe://acme.test\"").unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`spiffe://acme.test` is not a SPIFFE ID: it has no path")
    );
    let acme: TrustDomain = serde_json::from_str("\"acme.test\"").unwrap();
    assert_eq!(serde_json::to_string(&acme).unwrap(), "\"acme.test\"");
    assert!(serde_json::from_str::<TrustDomain>("\"ACME\"").is_err());
}

#[test]
fn ids_sort_as_text() {
    let sorted: BTreeSet<SpiffeId> = [
        "spiffe://b.test/a",
        "spiffe://a.test/b",
        "spiffe://a.test/a",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    let sorted: Vec<String> = sorted.iter().map(ToString::to_string).collect();
    assert_eq!(
        sorted,
        [
            "spiffe://a.test/a",
            "spiffe://a.test/b",
            "spiffe://b.test/a"
        ]
    );
}

proptest! {
    #[test]
    fn canonical_id_survives(trust_domain in "[a-z0-9._-]{1,40}", path in proptest::collection::vec("[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,10}", 1..6)) {
        let text = format!("spiffe://{trust_domain}/{}", path.join("/"));
        let id = SpiffeId::parse(&text).unwrap();
        prop_assert_eq!(id.as_str(), text.as_str());
        prop_assert_eq!(id.trust_domain().as_str(), trust_domain.as_str());
        prop_assert_eq!(id.segments().collect::<Vec<_>>(), path);
    }

    #[test]
    fn whatever_parses_is_its_own_canonical_form(text in "(spiffe://)?[a-zA-Z0-9./_%?#-]{0,60}") {
        if let Ok(id) = SpiffeId::parse(&text) {
            prop_assert_eq!(id.as_str(), text.as_str());
            let again = format!("spiffe://{}{}", id.trust_domain(), id.path());
            prop_assert_eq!(again, text);
        }
    }

    #[test]
    fn any_text_is_judged(text in any::<String>()) {
        drop(SpiffeId::parse(&text));
        drop(SpiffeId::parse(&format!("spiffe://{text}")));
    }
}
