//! One SVID with its key, encoded once in each form that is handed out.

use std::{fmt, sync::Arc};

use identity::{
    private_key::PrivateKey,
    x509_svid::{self, Leaf},
};
use rustls::pki_types::CertificateDer;
use zeroize::Zeroizing;

use crate::grants::Grant;

/// An SVID of one workload under one grant. Streams share it; the key is wiped when the last lets go.
pub struct Svid {
    grant: Arc<Grant>,
    leaf: Leaf,
    chain_der: Vec<u8>,
    chain_pem: String,
    key_der: Zeroizing<Vec<u8>>,
    key_pem: Zeroizing<String>,
}

impl Svid {
    /// Encodes a checked chain and its key.
    pub fn new(
        grant: Arc<Grant>,
        leaf: Leaf,
        chain: &[CertificateDer<'static>],
        key: &PrivateKey,
    ) -> Self {
        Self {
            grant,
            leaf,
            chain_der: chain
                .iter()
                .flat_map(|certificate| certificate.iter().copied())
                .collect(),
            chain_pem: x509_svid::chain_to_pem(chain),
            key_der: Zeroizing::new(key.pkcs8_der().to_vec()),
            key_pem: key.pkcs8_pem(),
        }
    }

    /// The grant it was given under.
    pub fn grant(&self) -> &Arc<Grant> {
        &self.grant
    }

    /// What its certificate says.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The certificates in DER, leaf first.
    pub fn chain_der(&self) -> &[u8] {
        &self.chain_der
    }

    /// The certificates in PEM, leaf first.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The unencrypted PKCS#8 key.
    pub fn key_der(&self) -> &[u8] {
        &self.key_der
    }

    /// The same in PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("spiffe_id", &self.leaf.spiffe_id)
            .field("serial", &self.leaf.serial)
            .finish_non_exhaustive()
    }
}
