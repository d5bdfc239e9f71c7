//! Owns what we prove ourselves with: a chain and its key, checked against each other.

use std::{fmt, sync::Arc};

use identity::{Leaf, PrivateKey};
use rustls::{crypto::aws_lc_rs::sign::any_supported_type, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// An X.509-SVID and its key, ready for handshakes. Cheap to clone; the key's bytes are not kept.
#[derive(Clone)]
pub struct SvidMaterial {
    certified: Arc<CertifiedKey>,
    leaf: Arc<Leaf>,
}

impl SvidMaterial {
    /// Takes a chain, leaf first, and the leaf's PKCS#8 key.
    ///
    /// # Errors
    /// The leaf is not an X.509-SVID, or the key is not its key.
    pub fn new(chain: Vec<CertificateDer<'static>>, pkcs8_der: &[u8]) -> Result<Self, TlsError> {
        let leaf = chain.first().ok_or(TlsError::ChainEmpty)?;
        let leaf = Leaf::parse(leaf).map_err(|source| TlsError::Leaf { source })?;
        // Borrowed, so that no copy of the key is left behind.
        let key = PrivateKeyDer::Pkcs8(pkcs8_der.into());
        let key = any_supported_type(&key).map_err(|source| TlsError::Key { source })?;
        let certified = CertifiedKey::new(chain, key);
        certified
            .keys_match()
            .map_err(|source| TlsError::Key { source })?;
        Ok(Self {
            certified: Arc::new(certified),
            leaf: Arc::new(leaf),
        })
    }

    /// As [`SvidMaterial::new`], from a key of ours.
    ///
    /// # Errors
    /// As [`SvidMaterial::new`].
    pub fn from_key(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKey,
    ) -> Result<Self, TlsError> {
        Self::new(chain, key.pkcs8_der())
    }

    /// The leaf.
    pub fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for SvidMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SvidMaterial")
            .field("spiffe_id", &self.leaf.spiffe_id)
            .field("serial", &self.leaf.serial)
            .finish_non_exhaustive()
    }
}
