//! Owns X.509-SVIDs: the rules of a leaf, its chain to a bundle, and the authorities in between.

mod authority;
mod certificate;
mod chain;
mod leaf;

pub use self::{
    authority::{Authority, InvalidAuthority, verify_authority},
    certificate::{InvalidCertificate, MAX_CERTIFICATE_BYTES, chain_from_pem, chain_to_pem},
    chain::{MAX_INTERMEDIATES, UntrustedChain, verify_chain},
    leaf::{InvalidLeaf, Leaf},
};
