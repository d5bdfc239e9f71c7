//! Owns the client's side: a connection to one server, known by its SPIFFE identity.

use std::{sync::Arc, time::Duration};

use identity::{Leaf, SpiffeId, TrustBundle};
use rustls::{ClientConfig, DEFAULT_VERSIONS, client::Resumption, sign::SingleCertAndKey};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};

use super::{
    ALPN_H2, AllowedPeers, Peer, PeerStream, SvidMaterial, TlsError, lifetime::Lifetime, provider,
    verifier::Verifier,
};
use crate::{Clock, clock::TlsClock};

/// How long connecting may take, the handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client's connection lives at most; it then connects again, with the certificate of that time.
const MAX_AGE: Duration = Duration::from_hours(1);

/// Connects to servers of one SPIFFE identity. Make a new one when the certificate or the bundle changes.
#[derive(Debug, Clone)]
pub struct TlsConnector {
    config: Arc<ClientConfig>,
    clock: Arc<dyn Clock>,
}

impl TlsConnector {
    /// Proves itself with `material`, and accepts only `expected`, chained to `bundle`.
    ///
    /// # Errors
    /// No configuration can be made of it.
    pub fn new(
        material: &SvidMaterial,
        bundle: &TrustBundle,
        expected: SpiffeId,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, TlsError> {
        let provider = provider();
        let bundles = std::iter::once(bundle.clone()).collect();
        let allowed = AllowedPeers::new(move |id| *id == expected);
        let verifier = Verifier::new(bundles, allowed, Arc::clone(&provider));
        let time = Arc::new(TlsClock(Arc::clone(&clock)));
        let mut config = ClientConfig::builder_with_details(provider, time)
            .with_protocol_versions(DEFAULT_VERSIONS)
            .map_err(|source| TlsError::Config { source })?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(material.certified())));
        // INVARIANT: no session is ever resumed, so the verifier sees every connection.
        config.resumption = Resumption::disabled();
        config.require_ems = true;
        // The server's name is its SPIFFE ID, not the address that was dialled.
        config.enable_sni = false;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok(Self {
            config: Arc::new(config),
            clock,
        })
    }

    /// Connects to `address`, a host and a port.
    ///
    /// # Errors
    /// The address cannot be reached in time, the server is somebody else, or does not speak HTTP/2.
    pub async fn connect(&self, address: &str) -> Result<PeerStream, TlsError> {
        match timeout(CONNECT_TIMEOUT, self.connect_without_deadline(address)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(TlsError::Timeout {
                address: address.to_owned(),
            }),
        }
    }

    async fn connect_without_deadline(&self, address: &str) -> Result<PeerStream, TlsError> {
        let unreachable = |source| TlsError::Address {
            address: address.to_owned(),
            source,
        };
        let stream = TcpStream::connect(address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let remote = stream.peer_addr().map_err(unreachable)?;
        let name = ServerName::IpAddress(remote.ip().into());
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
            .map_err(|source| TlsError::from_handshake(&address, source))?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(ALPN_H2) {
            return Err(TlsError::Protocol {
                address: address.to_owned(),
            });
        }
        let (leaf, intermediates) = session
            .peer_certificates()
            .and_then(<[_]>::split_first)
            .ok_or(TlsError::ChainEmpty)?;
        let leaf = Leaf::parse(leaf).map_err(|source| TlsError::Leaf { source })?;
        let not_after = leaf.not_after;
        let peer = Peer::new(leaf, intermediates.to_vec(), remote);
        let lifetime = Lifetime {
            clock: Arc::clone(&self.clock),
            not_after,
            max_age: MAX_AGE,
            retire: peer.retiring(),
            trust: None,
        };
        Ok(PeerStream::new(stream.into(), peer, lifetime, None))
    }
}
