//! The grants in force on this node: the policy's, with the reserved ones of the local configuration beside them.

use std::{collections::BTreeSet, sync::Arc};

use evidence::{binding::Role, signer::SignerSet};
use identity::spiffe_id::{SpiffeId, TrustDomain};
use policy::{policy::Policy, requirement::Requirement};

use crate::config::Infrastructure;

/// One grant in force.
#[derive(Debug, Clone)]
pub struct Grant {
    /// What is granted to whom.
    pub terms: policy::grant::Grant,
    /// Where the grant was written.
    pub origin: Origin,
    /// What its workloads do in the mesh.
    pub role: Role,
}

/// Where a grant was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// In the policy directory.
    Policy,
    /// In the local configuration: a reserved identity, whose SVID does not wait for the feed.
    Infrastructure,
}

/// Every grant in force under one policy.
#[derive(Debug, Clone)]
pub struct Grants {
    policy: Arc<Policy>,
    grants: Vec<Arc<Grant>>,
}

impl Grants {
    /// Joins the policy's grants with the reserved ones.
    ///
    /// # Errors
    /// Every grant that cannot stand: a foreign trust domain, a reserved identity in the policy directory, a name used twice, a reserved grant
    /// under a signature policy that does not exist.
    pub fn join(policy: Arc<Policy>, local: &Reserved) -> Result<Self, Vec<InvalidGrants>> {
        let mut errors = Vec::new();
        let mut grants = Vec::new();
        for terms in policy.grants() {
            match local.admits(terms) {
                Ok(()) => grants.push(Arc::new(Grant {
                    terms: terms.clone(),
                    origin: Origin::Policy,
                    role: Role::App,
                })),
                Err(error) => errors.push(error),
            }
        }
        for reserved in &local.infrastructure {
            match reserved_grant(&policy, reserved) {
                Ok(grant) => grants.push(Arc::new(grant)),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(repeated_names(&grants));
        if errors.is_empty() {
            Ok(Self { policy, grants })
        } else {
            Err(errors)
        }
    }

    /// Returns the grant of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Grant>> {
        self.grants.iter().find(|grant| &*grant.terms.name == name)
    }

    /// Lists every grant, the policy's first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.grants.iter()
    }

    /// Returns everyone whose signature may count.
    pub fn signers(&self) -> &SignerSet {
        self.policy.signers()
    }

    /// Returns the hash of the policy directory.
    pub fn policy_hash(&self) -> &str {
        self.policy.hash()
    }
}

/// What the local configuration reserves.
#[derive(Debug, Clone)]
pub struct Reserved {
    /// The trust domain this agent issues in.
    pub trust_domain: TrustDomain,
    /// The grants of agents, authz-service and proxies.
    pub infrastructure: Vec<Infrastructure>,
}

impl Reserved {
    fn admits(&self, terms: &policy::grant::Grant) -> Result<(), InvalidGrants> {
        let grant = terms.name.to_string();
        let id = &terms.spiffe_id;
        if id.trust_domain() != &self.trust_domain {
            return Err(InvalidGrants::ForeignTrustDomain {
                grant,
                id: id.clone(),
                ours: self.trust_domain.clone(),
            });
        }
        // Those below `/countersign/` are reserved by the policy's language itself.
        if self
            .infrastructure
            .iter()
            .any(|reserved| &reserved.spiffe_id == id)
        {
            return Err(InvalidGrants::Reserved {
                grant,
                id: id.clone(),
            });
        }
        Ok(())
    }
}

/// Why grants cannot be in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidGrants {
    /// The agent issues in one trust domain only.
    #[error("grant `{grant}`: `{id}` is not in this agent's trust domain `{ours}`")]
    ForeignTrustDomain {
        /// The grant's name.
        grant: String,
        /// The identity it names.
        id: SpiffeId,
        /// The trust domain of the agent.
        ours: TrustDomain,
    },
    /// Identities of agents, authz-service and proxies come from the local configuration.
    #[error(
        "grant `{grant}`: `{id}` is reserved; it can only be granted by `infrastructure` in cert-agent's own configuration"
    )]
    Reserved {
        /// The grant's name.
        grant: String,
        /// The identity it names.
        id: SpiffeId,
    },
    /// A reserved grant names a signature policy that the policy directory does not have.
    #[error("infrastructure grant `{grant}`: no SignaturePolicy is named `{signed_by}`")]
    UnknownSignaturePolicy {
        /// The grant's name.
        grant: String,
        /// What it names.
        signed_by: String,
    },
    /// Two grants have one name.
    #[error("two grants are named `{grant}`")]
    RepeatedName {
        /// The name.
        grant: String,
    },
}

fn reserved_grant(policy: &Policy, reserved: &Infrastructure) -> Result<Grant, InvalidGrants> {
    let Infrastructure {
        name,
        spiffe_id,
        selectors,
        signed_by,
        role,
        ttl,
        dns_names,
    } = reserved.clone();
    let Some(signature_policy) = policy.signature_policy(&signed_by) else {
        return Err(InvalidGrants::UnknownSignaturePolicy {
            grant: name,
            signed_by,
        });
    };
    let artifact = Requirement::signed_by(Arc::clone(signature_policy));
    let terms = policy::grant::Grant {
        name: name.into(),
        spiffe_id,
        selectors,
        artifact,
        ttl,
        dns_names,
        hint: None,
        contact: None,
    };
    Ok(Grant {
        terms,
        origin: Origin::Infrastructure,
        role,
    })
}

fn repeated_names(grants: &[Arc<Grant>]) -> Vec<InvalidGrants> {
    let mut seen = BTreeSet::new();
    grants
        .iter()
        .filter(|grant| !seen.insert(&*grant.terms.name))
        .map(|grant| InvalidGrants::RepeatedName {
            grant: grant.terms.name.to_string(),
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
