//! Claims that a requirement demands.

use std::collections::BTreeMap;

use evidence::vouched::Claims;

/// What the counted signatures must say the artifact is. An empty value demands nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequiredClaims {
    /// The repository, without tag or digest.
    pub repository: Option<String>,
    /// A name that the signature gives the artifact.
    pub name: Option<String>,
    /// Annotations, each with its exact value.
    pub annotations: BTreeMap<String, String>,
}

impl RequiredClaims {
    /// Whether nothing is demanded.
    pub fn is_empty(&self) -> bool {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        repository.is_none() && name.is_none() && annotations.is_empty()
    }

    /// Whether one signature says all of it.
    pub(super) fn hold_in(&self, found: &Claims) -> bool {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        repository
            .as_ref()
            .is_none_or(|wanted| found.repository.as_ref() == Some(wanted))
            && name
                .as_ref()
                .is_none_or(|wanted| found.names.contains(wanted))
            && annotations
                .iter()
                .all(|(key, wanted)| found.annotations.get(key) == Some(wanted))
    }

    /// Whether all that is demanded here is demanded there too.
    pub(super) fn implied_by(&self, narrow: &Self) -> bool {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        (repository.is_none() || *repository == narrow.repository)
            && (name.is_none() || *name == narrow.name)
            && annotations
                .iter()
                .all(|(key, wanted)| narrow.annotations.get(key) == Some(wanted))
    }

    /// All of it in words.
    pub(super) fn describe(&self) -> String {
        let Self {
            repository,
            name,
            annotations,
        } = self;
        let repository = repository
            .iter()
            .map(|value| format!("repository `{value}`"));
        let name = name.iter().map(|value| format!("name `{value}`"));
        let annotations = annotations
            .iter()
            .map(|(key, value)| format!("annotation `{key}={value}`"));
        repository
            .chain(name)
            .chain(annotations)
            .collect::<Vec<_>>()
            .join(" and ")
    }
}
