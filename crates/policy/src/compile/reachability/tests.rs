use std::sync::Arc;

use evidence::digest::Digest;

use super::*;
use crate::document::Place;
use crate::pattern::{HostPattern, IdentityPattern, PathPattern};
use crate::requirement::RequiredClaims;
use crate::rule::RegistryAction;
use crate::signature_policy::SignaturePolicy;

fn requirement(policy: &str) -> Requirement {
    let signers = std::collections::BTreeMap::new();
    Requirement::signed_by(Arc::new(SignaturePolicy {
        name: policy.into(),
        signers,
        threshold: 1,
    }))
}

fn claiming(policy: &str, name: &str) -> Requirement {
    Requirement {
        claims: RequiredClaims {
            name: Some(name.to_owned()),
            ..RequiredClaims::default()
        },
        ..requirement(policy)
    }
}

fn callers(identity: &str, artifact: Option<Requirement>) -> Callers {
    let identities =
        vec![IdentityPattern::parse(&format!("spiffe://acme.test/{identity}")).unwrap()];
    Callers {
        identities,
        artifact,
        ..Callers::default()
    }
}

fn service(path: &str) -> Targets {
    Targets::Service {
        hosts: vec![HostPattern::parse("a.test").unwrap()],
        methods: vec!["GET".to_owned()],
        paths: vec![PathPattern::request_path(path).unwrap()],
    }
}

fn registry(
    repositories: &str,
    actions: &[RegistryAction],
    artifact: Option<Requirement>,
) -> Targets {
    Targets::Registry {
        hosts: Vec::new(),
        repositories: vec![PathPattern::repository(repositories).unwrap()],
        actions: actions.to_vec(),
        artifact,
    }
}

fn rule(name: &str, effect: Effect, from: Callers, to: Option<Targets>) -> At<AccessRule> {
    At {
        place: Place::start_of("a.yaml"),
        value: AccessRule {
            name: name.into(),
            effect,
            from,
            to,
        },
    }
}

/// The names of rules found dead, each with the rule that covers it.
fn dead(rules: &[At<AccessRule>]) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    check(rules, &mut errors);
    let names = errors.into_iter().filter_map(|error| {
        if let Problem::Unreachable { rule, by, .. } = error.problem {
            Some((rule, by))
        } else {
            None
        }
    });
    names.collect()
}

fn pair(rule: &str, by: &str) -> (String, String) {
    (rule.to_owned(), by.to_owned())
}

#[test]
fn second_of_two_identical_rules_is_dead() {
    for effect in [Effect::Permit, Effect::Deny] {
        let rule = |name| {
            rule(
                name,
                effect,
                callers("a", Some(requirement("release"))),
                Some(service("/v1")),
            )
        };
        assert_eq!(
            dead(&[rule("first"), rule("second")]),
            [pair("second", "first")]
        );
    }
}

#[test]
fn permit_under_a_deny_is_dead_wherever_the_deny_stands() {
    let permit = rule(
        "permit",
        Effect::Permit,
        callers("a", Some(requirement("release"))),
        Some(service("/v1")),
    );
    let deny = rule("deny", Effect::Deny, callers("**", None), None);
    assert_eq!(
        dead(&[permit.clone(), deny.clone()]),
        [pair("permit", "deny")]
    );
    assert_eq!(dead(&[deny, permit]), [pair("permit", "deny")]);
}

#[test]
fn deny_under_a_permit_is_alive() {
    let permit = rule(
        "permit",
        Effect::Permit,
        callers("**", Some(requirement("release"))),
        Some(service("/**")),
    );
    let deny = rule(
        "deny",
        Effect::Deny,
        callers("a", Some(requirement("release"))),
        Some(service("/v1")),
    );
    assert!(dead(&[permit, deny]).is_empty());
}

#[test]
fn narrow_rule_before_a_wide_one_is_alive() {
    let wide = rule(
        "wide",
        Effect::Permit,
        callers("**", Some(requirement("release"))),
        Some(service("/**")),
    );
    let narrow = rule(
        "narrow",
        Effect::Permit,
        callers("a", Some(requirement("release"))),
        Some(service("/v1/x")),
    );
    assert!(dead(&[narrow.clone(), wide.clone()]).is_empty());
    assert_eq!(dead(&[wide, narrow]), [pair("narrow", "wide")]);
}

#[test]
fn rule_that_demands_something_else_of_the_artifact_is_alive() {
    let permit = |name, artifact| {
        rule(
            name,
            Effect::Permit,
            callers("a", Some(artifact)),
            Some(service("/v1")),
        )
    };
    let release = permit("release", requirement("release"));
    assert!(
        dead(&[
            release.clone(),
            permit("other", requirement("infrastructure"))
        ])
        .is_empty()
    );
    let claims = permit("claims", claiming("release", "pay"));
    assert!(dead(&[claims.clone(), release.clone()]).is_empty());
    assert_eq!(
        dead(&[release.clone(), claims.clone()]),
        [pair("claims", "release")]
    );
    assert!(dead(&[claims, permit("claims-too", claiming("release", "web"))]).is_empty());
    let digest = |name, text: &[u8]| {
        permit(
            name,
            Requirement {
                digests: vec![Digest::sha256_of(text)],
                ..requirement("release")
            },
        )
    };
    assert!(dead(&[digest("one", b"1"), digest("two", b"2")]).is_empty());
    assert!(dead(&[digest("one", b"1"), release.clone()]).is_empty());
    assert_eq!(
        dead(&[release, digest("one", b"1")]),
        [pair("one", "release")]
    );
}

#[test]
fn conditional_deny_does_not_kill_an_unconditional_rule() {
    let by_digest = Callers {
        digests: vec![Digest::sha256_of(b"leaked")],
        ..callers("**", None)
    };
    let deny = rule("deny", Effect::Deny, by_digest, None);
    let permit = rule(
        "permit",
        Effect::Permit,
        callers("a", Some(requirement("release"))),
        Some(service("/v1")),
    );
    let wide = rule("wide", Effect::Deny, callers("**", None), None);
    assert!(dead(&[deny.clone(), permit]).is_empty());
    assert!(dead(&[deny.clone(), wide.clone()]).is_empty());
    assert_eq!(dead(&[wide, deny]), [pair("deny", "wide")]);
}

#[test]
fn registry_and_service_do_not_cover_each_other() {
    let deny = |name, to| rule(name, Effect::Deny, callers("**", None), Some(to));
    let everything = registry("**", &[], None);
    assert!(dead(&[deny("a", everything.clone()), deny("b", service("/v1"))]).is_empty());
    assert!(dead(&[deny("a", service("/**")), deny("b", everything)]).is_empty());
}

#[test]
fn left_out_list_covers_every_list_and_only_itself_is_covered_by_it() {
    let deny = |name, to| rule(name, Effect::Deny, callers("**", None), Some(to));
    let any_action = deny("any", registry("legacy/**", &[], None));
    let pull = deny("pull", registry("legacy/a", &[RegistryAction::Pull], None));
    assert_eq!(
        dead(&[any_action.clone(), pull.clone()]),
        [pair("pull", "any")]
    );
    assert!(dead(&[pull, any_action]).is_empty());
}

#[test]
fn pull_permit_is_covered_only_with_its_target_requirement() {
    let permit = |name, artifact| {
        let to = registry("prod/**", &[RegistryAction::Pull], Some(artifact));
        rule(
            name,
            Effect::Permit,
            callers("a", Some(requirement("release"))),
            Some(to),
        )
    };
    let release = permit("release", requirement("release"));
    assert!(dead(&[permit("claims", claiming("release", "x")), release.clone()]).is_empty());
    assert_eq!(
        dead(&[release, permit("claims", claiming("release", "x"))]),
        [pair("claims", "release")]
    );
}
