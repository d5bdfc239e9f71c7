//! The compiled policy: what both programs read.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::signer::SignerSet;

use crate::grant::Grant;
use crate::rule::AccessRule;
use crate::signature_policy::SignaturePolicy;

/// A whole policy directory, read and checked. Only [`compile`](crate::compile()) makes one.
#[derive(Debug, Clone)]
pub struct Policy {
    pub(crate) hash: String,
    pub(crate) signers: SignerSet,
    pub(crate) signature_policies: BTreeMap<String, Arc<SignaturePolicy>>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) rules: Vec<AccessRule>,
}

impl Policy {
    /// The hash of the source, by which two programs see that they hold the same policy.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Every key that any signature policy counts. Evidence is verified against this set, once for all policies.
    pub fn signers(&self) -> &SignerSet {
        &self.signers
    }

    /// The signature policy of this name.
    pub fn signature_policy(&self, name: &str) -> Option<&Arc<SignaturePolicy>> {
        self.signature_policies.get(name)
    }

    /// Every grant, in the order of the files.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The grant of this name.
    pub fn grant(&self, name: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| *grant.name == *name)
    }

    /// Every rule, in the order of the files.
    pub fn rules(&self) -> &[AccessRule] {
        &self.rules
    }
}
