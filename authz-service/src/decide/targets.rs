//! A target, held against the `to` of a rule.

use artifact::reference::Repository;
use policy::pattern::HostPattern;
use policy::requirement::Requirement;
use policy::rule::{RegistryAction, Targets};

use super::{NeededArtifact, Wanted};
use crate::target::{Access, Host, RegistryRequest, Resource, ServiceCall, Target};

/// One thing that a request asks leave for. Nearly every request is one; a mount is a write here and a read there.
#[derive(Debug)]
pub(super) enum Part<'a> {
    /// To speak to a registry at all.
    Base(&'a RegistryRequest),
    /// One action on one repository.
    Repository {
        request: &'a RegistryRequest,
        repository: &'a Repository,
        action: RegistryAction,
        wanted: Option<Wanted>,
    },
    /// One call.
    Call(&'a ServiceCall),
}

impl Part<'_> {
    /// Whether a permit with these targets is about this part: under the host that was asked and under the one it mirrors.
    /// The first serves, and the second is whatever the caller wrote into `?ns=`; neither lends its permits to the other.
    pub(super) fn is_among(&self, to: &Targets) -> bool {
        match self {
            // SPEC(design §6.5): `GET /v2/` is permitted to whoever meets the `from` of any registry permit for that host.
            Self::Base(request) => hosts(to).is_some_and(|hosts| {
                both_hosts(request)
                    .iter()
                    .all(|host| admits(hosts, host.as_str()))
            }),
            Self::Repository {
                request,
                repository,
                action,
                ..
            } => both_hosts(request)
                .iter()
                .all(|host| to.matches_registry(host.as_str(), repository.as_str(), *action)),
            Self::Call(call) => to.matches_service(call.host.as_str(), &call.method, &call.path),
        }
    }

    /// Whether a deny with these targets is about this part, under the host that was asked or the one it mirrors.
    fn is_denied_by(&self, to: &Targets) -> bool {
        match self {
            Self::Base(request) => denies_whole_registry(to, request),
            Self::Repository {
                request,
                repository,
                action,
                ..
            } => both_hosts(request)
                .iter()
                .any(|host| to.matches_registry(host.as_str(), repository.as_str(), *action)),
            Self::Call(call) => to.matches_service(call.host.as_str(), &call.method, &call.path),
        }
    }

    /// The artifact that would be served, if the part reads one.
    pub(super) fn artifact(&self) -> Option<NeededArtifact> {
        match self {
            Self::Base(_) | Self::Call(_) => None,
            Self::Repository {
                request,
                repository,
                wanted,
                ..
            } => wanted.clone().map(|wanted| NeededArtifact {
                host: request.host.clone(),
                repository: (*repository).clone(),
                wanted,
                accept: request.accept.clone(),
            }),
        }
    }

    /// Whether the part reads an artifact.
    pub(super) fn is_an_artifact(&self) -> bool {
        match self {
            Self::Base(_) | Self::Call(_) => false,
            Self::Repository { wanted, .. } => wanted.is_some(),
        }
    }

    /// What a rule that permits this part demands of the artifact.
    pub(super) fn demand<'r>(&self, to: &'r Targets) -> Demand<'r> {
        match (self, to) {
            (
                Self::Repository {
                    action: RegistryAction::Evidence,
                    ..
                },
                _,
            ) => Demand::Nothing,
            (_, Targets::Registry { artifact, .. }) => {
                artifact.as_ref().map_or(Demand::Missing, Demand::Meets)
            }
            (_, Targets::Service { .. }) => Demand::Missing,
        }
    }
}

/// What is demanded of an artifact about to be served.
#[derive(Debug)]
pub(super) enum Demand<'r> {
    /// It meets this.
    Meets(&'r Requirement),
    /// Only that it is what was resolved: signatures are readable by their own action, else no one could verify.
    Nothing,
    /// The rule should say and does not. Nothing meets that.
    Missing,
}

/// The parts of a request, each of which must be permitted. Without parts nothing can be.
pub(super) fn parts(target: &Target) -> Vec<Part<'_>> {
    match target {
        Target::Service(call) => vec![Part::Call(call)],
        Target::Registry(request) => registry_parts(request),
    }
}

fn registry_parts(request: &RegistryRequest) -> Vec<Part<'_>> {
    let part = |repository, action, wanted| Part::Repository {
        request,
        repository,
        action,
        wanted,
    };
    let (resource, access) = (&request.resource, request.access);
    match (resource, request.action()) {
        (Resource::Base, None) => match access {
            Access::Read => vec![Part::Base(request)],
            Access::Write | Access::Delete => Vec::new(),
        },
        (
            Resource::Manifest {
                repository,
                reference,
            },
            Some(action),
        ) => {
            let wanted = read(access, || Wanted::Manifest(reference.clone()));
            vec![part(repository, action, wanted)]
        }
        (Resource::Blob { repository, digest }, Some(action)) => {
            let wanted = read(access, || Wanted::Blob(digest.clone()));
            vec![part(repository, action, wanted)]
        }
        (
            Resource::Mount {
                repository,
                from,
                digest,
            },
            Some(action),
        ) => vec![
            part(repository, action, None),
            part(
                from,
                RegistryAction::Pull,
                Some(Wanted::Blob(digest.clone())),
            ),
        ],
        (
            Resource::Tags { repository }
            | Resource::Referrers { repository, .. }
            | Resource::Upload { repository },
            Some(action),
        ) => vec![part(repository, action, None)],
        // An action on nothing, or nothing done to something: no rule can be about it.
        (Resource::Base, Some(_))
        | (
            Resource::Manifest { .. }
            | Resource::Blob { .. }
            | Resource::Mount { .. }
            | Resource::Tags { .. }
            | Resource::Referrers { .. }
            | Resource::Upload { .. },
            None,
        ) => Vec::new(),
    }
}

/// The artifact, if it is read: only then is it served.
fn read(access: Access, wanted: impl FnOnce() -> Wanted) -> Option<Wanted> {
    match access {
        Access::Read => Some(wanted()),
        Access::Write | Access::Delete => None,
    }
}

/// Whether a deny with these targets matches. Without targets it is about everything.
pub(super) fn denied_by(to: Option<&Targets>, target: &Target) -> bool {
    to.is_none_or(|to| parts(target).iter().any(|part| part.is_denied_by(to)))
}

/// `GET /v2/` reads nothing, so only a deny that spares nothing of the host is about it.
fn denies_whole_registry(to: &Targets, request: &RegistryRequest) -> bool {
    match to {
        Targets::Registry {
            hosts,
            repositories,
            actions,
            artifact: _,
        } => {
            let spares_nothing = actions.is_empty()
                && (repositories.is_empty()
                    || repositories
                        .iter()
                        .any(|pattern| pattern.to_string() == "**"));
            spares_nothing
                && both_hosts(request)
                    .iter()
                    .any(|host| admits(hosts, host.as_str()))
        }
        Targets::Service { .. } => false,
    }
}

/// The host whose repositories these are, and the host that was asked; the same one but for a mirror.
fn both_hosts(request: &RegistryRequest) -> [&Host; 2] {
    [&request.host, &request.asked]
}

fn hosts(to: &Targets) -> Option<&[HostPattern]> {
    match to {
        Targets::Registry { hosts, .. } => Some(hosts),
        Targets::Service { .. } => None,
    }
}

/// In a deny an empty list is any host; the compiler refuses one in a permit.
fn admits(hosts: &[HostPattern], host: &str) -> bool {
    hosts.is_empty() || hosts.iter().any(|pattern| pattern.matches(host))
}
