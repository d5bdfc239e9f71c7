//! Signature policies: named statements of what counts as signed.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::SpkiHash;

/// A named statement of what counts as signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignaturePolicy {
    pub(crate) name: Arc<str>,
    pub(crate) signers: BTreeMap<SpkiHash, Arc<str>>,
    pub(crate) threshold: usize,
}

impl SignaturePolicy {
    /// The name by which requirements refer to it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The keys that count, each with the name that the policy gives its signer.
    pub fn signers(&self) -> &BTreeMap<SpkiHash, Arc<str>> {
        &self.signers
    }

    /// How many distinct signers must have signed. At least one.
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}
