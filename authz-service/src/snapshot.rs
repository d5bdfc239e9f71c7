//! PURE. One consistent view of all that a decision reads: policy, bindings, refusals and trust.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use evidence::binding::{Binding, Refusal};
use evidence::vouched::Vouched;
use identity::public_key::SpkiHash;
use identity::spiffe_id::{SpiffeId, TrustDomain};
use identity::trust_bundle::TrustBundles;
use policy::policy::Policy;
use rustls::pki_types::CertificateDer;

pub mod writer;

/// An immutable view. Readers load it once per asking; one writer replaces it whole.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with every published view.
    pub generation: u64,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Who runs what, by the SHA-256 of the SVID's public key: what each agent says of that key, the first to speak first. Never empty.
    pub bindings: imbl::HashMap<SpkiHash, Arc<[Bound]>>,
    /// Why agents lately gave no identity, by the identity that was wanted; the newest last, bounded by the writer.
    pub refusals: imbl::HashMap<SpiffeId, Arc<Vec<Refusal>>>,
    /// Whose signatures on certificates count.
    pub trust: Arc<Trust>,
    /// Whether a missing binding says anything about the caller yet.
    pub synced: Synced,
}

impl Snapshot {
    /// The first binding of this key, to whatever identity, live or not.
    pub fn binding(&self, key: &SpkiHash) -> Option<&Bound> {
        self.bindings.get(key)?.first()
    }

    /// The bindings of this key to this identity, live or not: one for each agent that says so.
    pub fn bindings_of(&self, key: &SpkiHash, identity: &SpiffeId) -> impl Iterator<Item = &Bound> {
        let bounds = self.bindings.get(key).map_or(&[][..], |bounds| bounds);
        let matches =
            |bound: &&Bound| bound.binding.spki == *key && bound.binding.spiffe_id == *identity;
        bounds.iter().filter(matches)
    }

    /// The refusals of this identity that agents reported, the newest last.
    pub fn refusals(&self, wanted: &SpiffeId) -> &[Refusal] {
        self.refusals
            .get(wanted)
            .map_or(&[], |refusals| refusals.as_slice())
    }
}

/// A binding as an agent signed it, with what this service itself verified about its artifacts.
#[derive(Clone, Debug)]
pub struct Bound {
    /// The agent's statement.
    pub binding: Binding,
    /// What evidence, verified here, proves; one per digest that has any. `Vouched::subject` names the digest.
    pub vouched: Vec<Arc<Vouched>>,
}

/// Whose signatures on certificates count: the operator's roots, and the intermediates that agents brought.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Grows whenever anything in here changes, and only then: cached verdicts on certificates are kept until it does.
    pub generation: u64,
    /// The operator's roots, one bundle per trust domain.
    pub bundles: TrustBundles,
    /// Issuing certificates from the feed, each checked against its own trust domain's roots. Never part of a bundle.
    pub intermediates: BTreeMap<TrustDomain, Vec<Intermediate>>,
}

/// An issuing certificate below a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intermediate {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// When it ends.
    pub not_after: SystemTime,
}

/// Whether every known agent has told all it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Synced {
    /// All have: a key without a binding has none.
    All,
    /// These have not: a key without a binding may still get one, so a miss is our fault.
    Missing(BTreeSet<SpiffeId>),
}
