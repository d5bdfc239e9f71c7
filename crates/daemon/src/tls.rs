//! Owns mutual TLS between SPIFFE identities.
//!
//! There is no session resumption and there are no tickets: a resumed session would skip the verifier, and with it a root that
//! was removed. A configuration is replaced whole, and read once per connection.

mod connection;
mod connector;
mod lifetime;
mod listener;
mod material;
mod server;
mod verifier;

use std::sync::Arc;

use identity::SpiffeId;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::{
    connection::{Peer, PeerStream},
    connector::TlsConnector,
    listener::{BoundTls, Incoming, TlsLimits, TlsMetrics},
    material::SvidMaterial,
    server::{HotServerConfig, ServerIdentity},
    verifier::{PeerRefused, Refusal},
};

/// The only application protocol: gRPC's.
const ALPN_H2: &[u8] = b"h2";

/// Who may connect. Asked once per handshake, with an identity that was verified.
#[derive(Clone)]
pub struct AllowedPeers(Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>);

impl AllowedPeers {
    /// Those for whom `allowed` is true.
    pub fn new(allowed: impl Fn(&SpiffeId) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(allowed))
    }

    fn contains(&self, id: &SpiffeId) -> bool {
        (self.0)(id)
    }
}

impl std::fmt::Debug for AllowedPeers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AllowedPeers")
    }
}

/// TLS could not be configured or spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The chain is empty.
    #[error("the certificate chain is empty")]
    ChainEmpty,
    /// The chain's first certificate is not an X.509-SVID.
    #[error("the certificate is not an X.509-SVID")]
    Leaf {
        /// The rule that it breaks.
        #[source]
        source: identity::x509_svid::InvalidLeaf,
    },
    /// The private key does not load, or is not the certificate's.
    #[error("the private key is not the certificate's")]
    Key {
        /// What failed.
        #[source]
        source: rustls::Error,
    },
    /// No configuration can be made.
    #[error("TLS cannot be configured")]
    Config {
        /// What failed.
        #[source]
        source: rustls::Error,
    },
    /// The address cannot be bound or reached.
    #[error("`{address}` cannot be bound or reached")]
    Address {
        /// The address.
        address: String,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// We refused the peer in the handshake.
    #[error("`{address}` was refused")]
    Refused {
        /// The address.
        address: String,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// The handshake failed, or the peer refused us in it.
    #[error("the TLS handshake with `{address}` failed")]
    Handshake {
        /// The address.
        address: String,
        /// What failed.
        #[source]
        source: std::io::Error,
    },
    /// The peer did not finish in time.
    #[error("`{address}` did not finish the TLS handshake in time")]
    Timeout {
        /// The address.
        address: String,
    },
    /// The peer does not speak HTTP/2.
    #[error("`{address}` does not speak HTTP/2")]
    Protocol {
        /// The address.
        address: String,
    },
}

impl TlsError {
    /// What a failed handshake means: rustls hides our own refusal from the chain of causes.
    fn from_handshake(address: &impl ToString, source: std::io::Error) -> Self {
        let address = address.to_string();
        match Refusal::within(&source) {
            Some(source) => Self::Refused { address, source },
            None => Self::Handshake { address, source },
        }
    }
}

/// One provider for every configuration.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
