//! Rules: who may do what, and who may not.

use std::fmt;
use std::sync::Arc;

use evidence::digest::Digest;
use identity::{SpiffeId, SpkiHash};

use crate::pattern::{HostPattern, IdentityPattern, PathPattern};
use crate::requirement::Requirement;

/// One rule of an access policy. Deny wins over permit; what no rule permits is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRule {
    /// The name, unique among all rules.
    pub name: Arc<str>,
    /// What a match means.
    pub effect: Effect,
    /// Which callers match.
    pub from: Callers,
    /// Which targets match. `None` is any target, and only in a deny.
    pub to: Option<Targets>,
}

/// What a match of a rule means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The call may pass.
    Permit,
    /// The call may not pass, whatever any permit says.
    Deny,
}

/// The callers of a rule: every condition that is given must hold.
///
/// A permit always has identities and an artifact. A deny may leave out any of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Callers {
    /// The caller's identity matches one of these. Empty: not a condition.
    pub identities: Vec<IdentityPattern>,
    /// The caller's own artifacts meet this.
    pub artifact: Option<Requirement>,
    /// In a permit each, in a deny one of the caller's artifacts is known by one of these digests. Empty: not a condition.
    pub digests: Vec<Digest>,
    /// The caller's SVID holds one of these keys. Empty: not a condition.
    pub keys: Vec<SpkiHash>,
}

impl Callers {
    /// Whether the identity satisfies the condition on identities.
    pub fn admits_identity(&self, id: &SpiffeId) -> bool {
        self.identities.is_empty() || self.identities.iter().any(|pattern| pattern.matches(id))
    }

    /// Whether what is known by all of these digests satisfies the condition on digests, by one of them.
    pub fn admits_digests<'a>(&self, mut known_by: impl Iterator<Item = &'a Digest>) -> bool {
        self.digests.is_empty() || known_by.any(|digest| self.digests.contains(digest))
    }

    /// Whether the key satisfies the condition on keys.
    pub fn admits_key(&self, key: &SpkiHash) -> bool {
        self.keys.is_empty() || self.keys.contains(key)
    }
}

/// The targets of a rule. In a permit no list is empty; in a deny an empty list is any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Actions on repositories of registries.
    Registry {
        /// The registries.
        hosts: Vec<HostPattern>,
        /// The repositories.
        repositories: Vec<PathPattern>,
        /// The actions.
        actions: Vec<RegistryAction>,
        /// What a pulled artifact must be. A permit of `pull` always has it, a deny never.
        artifact: Option<Requirement>,
    },
    /// Calls of services.
    Service {
        /// The services.
        hosts: Vec<HostPattern>,
        /// The HTTP methods.
        methods: Vec<String>,
        /// The paths.
        paths: Vec<PathPattern>,
    },
}

impl Targets {
    /// Whether this action on this repository is among the targets. What the artifact must be is another question.
    pub fn matches_registry(&self, host: &str, repository: &str, action: RegistryAction) -> bool {
        match self {
            Self::Registry {
                hosts,
                repositories,
                actions,
                artifact: _,
            } => {
                any(hosts, |pattern| pattern.matches(host))
                    && any(repositories, |pattern| pattern.matches(repository))
                    && any(actions, |listed| *listed == action)
            }
            Self::Service { .. } => false,
        }
    }

    /// Whether this call is among the targets.
    pub fn matches_service(&self, host: &str, method: &str, path: &str) -> bool {
        match self {
            Self::Service {
                hosts,
                methods,
                paths,
            } => {
                any(hosts, |pattern| pattern.matches(host))
                    && any(methods, |listed| listed == method)
                    && any(paths, |pattern| pattern.matches(path))
            }
            Self::Registry { .. } => false,
        }
    }
}

/// An empty list is any; the compiler refuses one in a permit.
fn any<T>(list: &[T], matches: impl Fn(&T) -> bool) -> bool {
    list.is_empty() || list.iter().any(matches)
}

/// Makes the enum, `ALL` and the words from one row per action, so that no action can be forgotten in one of them.
macro_rules! registry_actions {
    ($($name:ident $word:literal, $meaning:literal;)+) => {
        /// What can be done in a registry.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum RegistryAction {
            $(#[doc = $meaning] $name,)+
        }

        impl RegistryAction {
            /// Every action: the words that a policy may use.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The action as the policy spells it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

registry_actions! {
    Pull "pull", "Reading manifests and blobs.";
    Evidence "evidence", "Reading signatures and attestations.";
    List "list", "Reading tags.";
    Push "push", "Writing.";
    Delete "delete", "Deleting.";
}

impl fmt::Display for RegistryAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_registry_action_has_a_word_of_its_own() {
        let words: BTreeSet<_> = RegistryAction::ALL
            .iter()
            .map(|action| action.as_str())
            .collect();
        assert_eq!(
            words,
            BTreeSet::from(["pull", "evidence", "list", "push", "delete"])
        );
    }
}
