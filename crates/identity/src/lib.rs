//! Who someone is: SPIFFE IDs, keys, X.509-SVIDs and the bundles that vouch for them.
//!
//! Pure: bytes and a time come in, a typed value or a typed refusal goes out.

mod pem;
pub mod private_key;
pub mod public_key;
pub mod spiffe_id;
pub mod trust_bundle;
pub mod x509_svid;

pub use crate::{
    pem::InvalidPem,
    private_key::PrivateKey,
    public_key::{PublicKey, SpkiHash},
    spiffe_id::{SpiffeId, TrustDomain},
    trust_bundle::{TrustBundle, TrustBundles},
    x509_svid::{Authority, Leaf},
};

#[cfg(test)]
mod testing;
