//! Owns the judging of a peer in the handshake: an allowed SPIFFE identity, chained to its own trust domain's bundle.

use std::{
    error::Error as StdError,
    fmt, io,
    sync::Arc,
    time::{Duration, SystemTime},
};

use identity::{
    Leaf, SpiffeId, TrustBundles, TrustDomain,
    x509_svid::{InvalidLeaf, UntrustedChain, verify_chain},
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::AllowedPeers;

/// Why a peer was refused in the handshake.
#[derive(Debug, thiserror::Error)]
pub enum PeerRefused {
    /// Its certificate is not an X.509-SVID.
    #[error("the peer's certificate is not an X.509-SVID")]
    Leaf {
        /// The rule that it breaks.
        #[source]
        source: InvalidLeaf,
    },
    /// No bundle of its trust domain is held.
    #[error("the peer's trust domain `{trust_domain}` is not trusted")]
    TrustDomainUnknown {
        /// The trust domain.
        trust_domain: TrustDomain,
    },
    /// Its certificate does not chain to its trust domain's bundle.
    #[error("the certificate of `{spiffe_id}` is not trusted")]
    Untrusted {
        /// Who it says it is.
        spiffe_id: SpiffeId,
        /// Why not.
        #[source]
        source: UntrustedChain,
    },
    /// It is who it says, and may not connect here.
    #[error("`{spiffe_id}` may not connect here")]
    NotAllowed {
        /// Who it is.
        spiffe_id: SpiffeId,
    },
}

/// A [`PeerRefused`] as it comes back out of rustls.
#[derive(Debug, Clone)]
pub struct Refusal(Arc<dyn StdError + Send + Sync>);

impl Refusal {
    /// Why the peer was refused.
    pub fn reason(&self) -> Option<&PeerRefused> {
        self.0.downcast_ref()
    }

    /// The refusal inside a failed handshake, if it is one of ours.
    pub(super) fn within(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<Error>()?;
        let Error::InvalidCertificate(CertificateError::Other(OtherError(refused))) = error else {
            return None;
        };
        refused
            .is::<PeerRefused>()
            .then(|| Self(Arc::clone(refused)))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Refusal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// Judges peers by SPIFFE identity. The name that a client dialled plays no part.
#[derive(Debug, Clone)]
pub(super) struct Verifier {
    bundles: TrustBundles,
    allowed: AllowedPeers,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(
        bundles: TrustBundles,
        allowed: AllowedPeers,
        provider: Arc<CryptoProvider>,
    ) -> Self {
        Self {
            bundles,
            allowed,
            provider,
        }
    }

    /// Whether the peer is trusted and allowed at `now`.
    pub(super) fn check(
        &self,
        leaf_der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: SystemTime,
    ) -> Result<(), PeerRefused> {
        let leaf = Leaf::parse(leaf_der).map_err(|source| PeerRefused::Leaf { source })?;
        let spiffe_id = leaf.spiffe_id;
        let trust_domain = spiffe_id.trust_domain();
        let bundle =
            self.bundles
                .get(trust_domain)
                .ok_or_else(|| PeerRefused::TrustDomainUnknown {
                    trust_domain: trust_domain.clone(),
                })?;
        if let Err(source) = verify_chain(leaf_der, intermediates, bundle, now) {
            return Err(PeerRefused::Untrusted { spiffe_id, source });
        }
        if !self.allowed.contains(&spiffe_id) {
            return Err(PeerRefused::NotAllowed { spiffe_id });
        }
        Ok(())
    }

    fn check_in_handshake(
        &self,
        leaf_der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let now = SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(now.as_secs()))
            .ok_or(Error::FailedToGetCurrentTime)?;
        self.check(leaf_der, intermediates, now).map_err(|refused| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
        })
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_in_handshake(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check_in_handshake(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
