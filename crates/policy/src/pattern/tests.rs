use ::identity::SpiffeId;
use proptest::prelude::*;

use super::*;

fn identity(pattern: &str) -> IdentityPattern {
    IdentityPattern::parse(pattern).unwrap()
}

fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

#[test]
fn star_is_one_whole_segment() {
    let pattern = identity("spiffe://acme.test/node/*/containerd");
    assert!(pattern.matches(&id("spiffe://acme.test/node/a/containerd")));
    assert!(!pattern.matches(&id("spiffe://acme.test/node/containerd")));
    assert!(!pattern.matches(&id("spiffe://acme.test/node/a/b/containerd")));
    assert!(!pattern.matches(&id("spiffe://other.test/node/a/containerd")));
}

#[test]
fn double_star_is_any_number_of_segments() {
    let pattern = identity("spiffe://acme.test/a/**/z");
    assert!(pattern.matches(&id("spiffe://acme.test/a/z")));
    assert!(pattern.matches(&id("spiffe://acme.test/a/b/c/z")));
    assert!(!pattern.matches(&id("spiffe://acme.test/a/b")));
    assert!(identity("spiffe://acme.test/**").matches(&id("spiffe://acme.test/x")));
}

#[test]
fn dots_and_brackets_are_only_themselves() {
    let pattern = identity("spiffe://acme.test/sa/cert-manager.io");
    assert!(!pattern.matches(&id("spiffe://acme.test/sa/cert-managerXio")));
    assert!(
        !PathPattern::request_path("/v1/a.b")
            .unwrap()
            .matches("/v1/aXb")
    );
    assert!(!HostPattern::parse("a.b").unwrap().matches("aXb"));
}

#[test]
fn invalid_identity_patterns_name_the_rule() {
    let scheme = |pattern: &str| InvalidIdentityPattern::Scheme {
        pattern: pattern.to_owned(),
    };
    let domain = |pattern: &str| InvalidIdentityPattern::TrustDomain {
        pattern: pattern.to_owned(),
    };
    let no_path = |pattern: &str| InvalidIdentityPattern::NoPath {
        pattern: pattern.to_owned(),
    };
    let segment = |segment: &str| InvalidIdentityPattern::Segment {
        segment: segment.to_owned(),
    };
    for (pattern, expected) in [
        ("SPIFFE://acme.test/x", scheme("SPIFFE://acme.test/x")),
        ("**", scheme("**")),
        ("spiffe://*/x", domain("spiffe://*/x")),
        ("spiffe:///x", domain("spiffe:///x")),
        ("spiffe://Acme.test/x", domain("spiffe://Acme.test/x")),
        ("spiffe://acme.test", no_path("spiffe://acme.test")),
        ("spiffe://acme.test/", segment("")),
        ("spiffe://acme.test/a//b", segment("")),
        ("spiffe://acme.test/a/../b", segment("..")),
        ("spiffe://acme.test/a*", segment("a*")),
        ("spiffe://acme.test/***", segment("***")),
        ("spiffe://acme.test/a%2Fb", segment("a%2Fb")),
    ] {
        assert_eq!(IdentityPattern::parse(pattern), Err(expected));
    }
    let long = format!("spiffe://acme.test/{}", "a".repeat(MAX_PATTERN_BYTES));
    assert_eq!(
        IdentityPattern::parse(&long),
        Err(InvalidIdentityPattern::TooLong)
    );
}

#[test]
fn invalid_path_patterns_name_the_rule() {
    let repository = |segment: &str| InvalidPathPattern::RepositorySegment {
        segment: segment.to_owned(),
    };
    let path = |segment: &str| InvalidPathPattern::PathSegment {
        segment: segment.to_owned(),
    };
    for segment in [
        "", "Prod", "a__-b", "-a", "a-", "a..b", "a___b", "a*", "a%2f",
    ] {
        assert_eq!(PathPattern::repository(segment), Err(repository(segment)));
    }
    for segment in ["a", "a.b", "a_b", "a__b", "a--b", "a-b.c_d", "0"] {
        assert!(
            PathPattern::repository(segment).unwrap().matches(segment),
            "{segment}"
        );
    }
    for segment in [
        ".", "..", "a%2Fb", "a;b", "a?b", "a#b", "a\\b", "a b", "é", "a*",
    ] {
        assert_eq!(
            PathPattern::request_path(&format!("/{segment}")),
            Err(path(segment))
        );
    }
    assert_eq!(PathPattern::request_path("/a//b"), Err(path("")));
    let relative = InvalidPathPattern::NotAbsolute {
        pattern: "v1".to_owned(),
    };
    assert_eq!(PathPattern::request_path("v1"), Err(relative));
    assert_eq!(
        PathPattern::repository(&"a".repeat(MAX_PATTERN_BYTES + 1)),
        Err(InvalidPathPattern::TooLong)
    );
}

#[test]
fn invalid_host_patterns_name_the_rule() {
    let label = |label: &str| InvalidHostPattern::Label {
        label: label.to_owned(),
    };
    for text in ["", "A", "-a", "a-", "a*", "a/b", "[", "é"] {
        assert_eq!(HostPattern::parse(text), Err(label(text)));
    }
    assert_eq!(HostPattern::parse("a.test."), Err(label("")));
    let port = InvalidHostPattern::Port {
        pattern: "a:5000".to_owned(),
    };
    assert_eq!(HostPattern::parse("a:5000"), Err(port));
    assert_eq!(
        HostPattern::parse(&"a.".repeat(200)),
        Err(InvalidHostPattern::TooLong)
    );
}

#[test]
fn trailing_slash_is_another_path() {
    let charges = PathPattern::request_path("/v1/charges").unwrap();
    assert!(charges.matches("/v1/charges"));
    assert!(!charges.matches("/v1/charges/"));
    assert!(!charges.matches("v1/charges"));
    assert!(!PathPattern::request_path("/v1/*").unwrap().matches("/v1/"));
    assert!(PathPattern::request_path("/v1/**").unwrap().matches("/v1/"));
    assert!(PathPattern::request_path("/").unwrap().matches("/"));
}

#[test]
fn host_star_is_one_label() {
    let pattern = HostPattern::parse("*.acme.test").unwrap();
    assert!(pattern.matches("a.acme.test"));
    assert!(!pattern.matches("acme.test"));
    assert!(!pattern.matches("a.b.acme.test"));
    assert!(!pattern.matches(".acme.test"));
    assert!(HostPattern::parse("**").unwrap().matches("localhost"));
}

#[test]
fn many_double_stars_end_in_time() {
    let pattern = PathPattern::request_path(&"/**/a".repeat(200)).unwrap();
    assert!(!pattern.matches(&"/a".repeat(199)));
    assert!(pattern.matches(&"/a".repeat(200)));
    assert!(!pattern.matches(&format!("{}/b", "/a".repeat(4000))));
}

/// A pattern segment over a small alphabet, so that matches are common.
fn segment() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("*"), Just("**")]
}

fn joined(segment: impl Strategy<Value = &'static str>) -> impl Strategy<Value = String> {
    prop::collection::vec(segment, 1..7).prop_map(|segments| segments.join("/"))
}

fn name() -> impl Strategy<Value = String> {
    joined(prop_oneof![Just("a"), Just("b"), Just("c")])
}

/// What matching means, written as the definition reads.
fn by_definition(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (["**", rest @ ..], _) => (0..=name.len()).any(|taken| by_definition(rest, &name[taken..])),
        (["*", rest @ ..], [first, others @ ..]) => {
            !first.is_empty() && by_definition(rest, others)
        }
        ([literal, rest @ ..], [first, others @ ..]) => {
            literal == first && by_definition(rest, others)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn matching_is_its_definition(pattern in joined(segment()), name in name()) {
        let expected = by_definition(
            &pattern.split('/').collect::<Vec<_>>(),
            &name.split('/').collect::<Vec<_>>(),
        );
        prop_assert_eq!(PathPattern::repository(&pattern).unwrap().matches(&name), expected);
        let path = PathPattern::request_path(&format!("/{pattern}")).unwrap();
        prop_assert_eq!(path.matches(&format!("/{name}")), expected);
        let identity = identity(&format!("spiffe://acme.test/{pattern}"));
        prop_assert_eq!(identity.matches(&id(&format!("spiffe://acme.test/{name}"))), expected);
        let other = id(&format!("spiffe://other.test/{name}"));
        prop_assert!(!identity.matches(&other));
        let host = HostPattern::parse(&pattern.replace('/', ".")).unwrap();
        prop_assert_eq!(host.matches(&name.replace('/', ".")), expected);
    }

    #[test]
    fn covering_is_sound(wide in joined(segment()), narrow in joined(segment()), name in name()) {
        let (wide, narrow) = (PathPattern::repository(&wide).unwrap(), PathPattern::repository(&narrow).unwrap());
        if wide.covers(&narrow) && narrow.matches(&name) {
            prop_assert!(wide.matches(&name));
        }
        prop_assert!(wide.covers(&wide));
    }

    #[test]
    fn pattern_without_wildcards_matches_only_itself(pattern in name(), other in name()) {
        let literal = PathPattern::repository(&pattern).unwrap();
        prop_assert_eq!(literal.matches(&other), pattern == other);
    }

    #[test]
    fn shown_pattern_parses_to_itself(pattern in joined(segment())) {
        let repository = PathPattern::repository(&pattern).unwrap();
        prop_assert_eq!(PathPattern::repository(&repository.to_string()), Ok(repository));
        let path = PathPattern::request_path(&format!("/{pattern}")).unwrap();
        prop_assert_eq!(PathPattern::request_path(&path.to_string()), Ok(path));
        let identity = identity(&format!("spiffe://acme.test/{pattern}"));
        prop_assert_eq!(IdentityPattern::parse(&identity.to_string()), Ok(identity));
        let host = HostPattern::parse(&pattern.replace('/', ".")).unwrap();
        prop_assert_eq!(HostPattern::parse(&host.to_string()), Ok(host));
    }

    #[test]
    fn any_text_is_parsed_and_matched_without_panic(pattern in ".{0,40}", name in ".{0,40}") {
        let _identity = IdentityPattern::parse(&pattern);
        for pattern in [PathPattern::repository(&pattern), PathPattern::request_path(&pattern)].into_iter().flatten() {
            pattern.matches(&name);
        }
        if let Ok(host) = HostPattern::parse(&pattern) {
            host.matches(&name);
        }
        prop_assert!(PathPattern::repository("**").unwrap().matches(&name));
    }
}
