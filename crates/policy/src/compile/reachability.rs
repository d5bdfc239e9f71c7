//! Rules that can never apply, because another covers all of them.
//!
//! Sound, not complete: every rule that is reported is dead, and some dead rules are not found.

use crate::document::At;
use crate::error::{PolicyError, Problem};
use crate::pattern::{HostPattern, IdentityPattern, PathPattern};
use crate::requirement::Requirement;
use crate::rule::{AccessRule, Callers, Effect, Targets};

/// Reports each rule that a deny covers, or an earlier rule of its own effect.
pub(super) fn check(rules: &[At<AccessRule>], errors: &mut Vec<PolicyError>) {
    for (index, rule) in rules.iter().enumerate() {
        let by = rules.iter().enumerate().find(|(other_index, other)| {
            let first = *other_index < index;
            let decides_before = match (other.value.effect, rule.value.effect) {
                (Effect::Deny, Effect::Permit) => true,
                (Effect::Deny, Effect::Deny) | (Effect::Permit, Effect::Permit) => first,
                (Effect::Permit, Effect::Deny) => false,
            };
            decides_before && covers(&other.value, &rule.value)
        });
        if let Some((_, by)) = by {
            let problem = Problem::Unreachable {
                rule: rule.value.name.to_string(),
                effect: word(by.value.effect),
                by: by.value.name.to_string(),
                at: by.place.to_string(),
            };
            errors.push(rule.place.clone().error(problem));
        }
    }
}

/// Whether every question that `narrow` matches is matched by `wide` too.
fn covers(wide: &AccessRule, narrow: &AccessRule) -> bool {
    let targets = match (&wide.to, &narrow.to) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => targets_cover(wide, narrow),
    };
    targets && callers_cover(&wide.from, &narrow.from)
}

fn callers_cover(wide: &Callers, narrow: &Callers) -> bool {
    let Callers {
        identities,
        artifact,
        digests,
        keys,
    } = wide;
    list_covers(identities, &narrow.identities, IdentityPattern::covers)
        && requirement_covers(artifact.as_ref(), narrow.artifact.as_ref())
        && list_covers(digests, &narrow.digests, PartialEq::eq)
        && list_covers(keys, &narrow.keys, PartialEq::eq)
}

fn targets_cover(wide: &Targets, narrow: &Targets) -> bool {
    match (wide, narrow) {
        (
            Targets::Registry {
                hosts,
                repositories,
                actions,
                artifact,
            },
            Targets::Registry {
                hosts: narrow_hosts,
                repositories: narrow_repositories,
                actions: narrow_actions,
                artifact: narrow_artifact,
            },
        ) => {
            list_covers(hosts, narrow_hosts, HostPattern::covers)
                && list_covers(repositories, narrow_repositories, |wide, narrow| {
                    wide.covers(narrow)
                })
                && list_covers(actions, narrow_actions, PartialEq::eq)
                && requirement_covers(artifact.as_ref(), narrow_artifact.as_ref())
        }
        (
            Targets::Service {
                hosts,
                methods,
                paths,
            },
            Targets::Service {
                hosts: narrow_hosts,
                methods: narrow_methods,
                paths: narrow_paths,
            },
        ) => {
            list_covers(hosts, narrow_hosts, HostPattern::covers)
                && list_covers(methods, narrow_methods, PartialEq::eq)
                && list_covers(paths, narrow_paths, PathPattern::covers)
        }
        (Targets::Registry { .. }, Targets::Service { .. })
        | (Targets::Service { .. }, Targets::Registry { .. }) => false,
    }
}

/// An empty list is no condition: it covers every list, and only another empty one covers it.
fn list_covers<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
    let each = |narrow: &T| wide.iter().any(|wide| covers(wide, narrow));
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(each))
}

fn requirement_covers(wide: Option<&Requirement>, narrow: Option<&Requirement>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => wide.covers(narrow),
    }
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Permit => "permit",
        Effect::Deny => "deny",
    }
}

#[cfg(test)]
mod tests;
