//! Owns the server's side: its configuration, and the replacing of it while connections live.

use std::sync::Arc;

use identity::TrustBundles;
use rustls::{
    DEFAULT_VERSIONS, ServerConfig,
    server::{NoServerSessionStorage, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};
use tokio::sync::watch;

use super::{ALPN_H2, AllowedPeers, SvidMaterial, TlsError, provider, verifier::Verifier};
use crate::{Clock, clock::TlsClock};

/// Who a server is, and whom it lets in. A client certificate is always demanded.
#[derive(Debug, Clone)]
pub struct ServerIdentity {
    /// What the server proves itself with.
    pub material: SvidMaterial,
    /// The trust domains whose members may connect.
    pub bundles: TrustBundles,
    /// Which of their members.
    pub allowed: AllowedPeers,
}

/// A server's configuration, replaced as a whole: handshakes that begin later use the new one, and peers that it no longer
/// trusts or allows are cut off.
#[derive(Debug)]
pub struct HotServerConfig {
    clock: Arc<dyn Clock>,
    current: watch::Sender<Arc<Current>>,
}

impl HotServerConfig {
    /// Begins with `identity`.
    ///
    /// # Errors
    /// No configuration can be made of it.
    pub fn new(identity: ServerIdentity, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        let current = Current::new(identity, &clock)?;
        Ok(Self {
            clock,
            current: watch::Sender::new(Arc::new(current)),
        })
    }

    /// Goes on with `identity`.
    ///
    /// # Errors
    /// No configuration can be made of it; the old one stays.
    pub fn replace(&self, identity: ServerIdentity) -> Result<(), TlsError> {
        let current = Current::new(identity, &self.clock)?;
        self.current.send_replace(Arc::new(current));
        Ok(())
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.borrow())
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<Current>> {
        self.current.subscribe()
    }
}

/// One configuration and the verifier in it.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) config: Arc<ServerConfig>,
    pub(super) verifier: Arc<Verifier>,
}

impl Current {
    fn new(identity: ServerIdentity, clock: &Arc<dyn Clock>) -> Result<Self, TlsError> {
        let ServerIdentity {
            material,
            bundles,
            allowed,
        } = identity;
        let provider = provider();
        let verifier = Arc::new(Verifier::new(bundles, allowed, Arc::clone(&provider)));
        let client_verifier: Arc<dyn ClientCertVerifier> = Arc::<Verifier>::clone(&verifier);
        let time = Arc::new(TlsClock(Arc::clone(clock)));
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(DEFAULT_VERSIONS)
            .map_err(|source| TlsError::Config { source })?
            .with_client_cert_verifier(client_verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(material.certified())));
        // INVARIANT: no session is ever resumed, so the verifier sees every connection.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.require_ems = true;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            verifier,
        })
    }
}
