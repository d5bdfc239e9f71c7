//! The caller's identity, as the Workload API gives and renews it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use identity::x509_svid::Leaf;
use kit::wire::{self, Credentials};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::{WorkloadApiClient, WorkloadApiError, X509Source, X509SourceUpdates};

/// Asks once.
pub(crate) async fn fetch() -> Result<String, WorkloadApiError> {
    let client = WorkloadApiClient::connect_env().await?;
    let context = client.fetch_x509_context().await?;
    let svid = context
        .default_svid()
        .ok_or(WorkloadApiError::NoIdentityIssued)?;
    Ok(svid.spiffe_id().to_string())
}

/// An identity that the source keeps fresh.
pub(crate) struct Identity {
    source: X509Source,
    updates: X509SourceUpdates,
}

impl Identity {
    /// Waits for the first SVID.
    pub(crate) async fn wait(within: Duration) -> anyhow::Result<Self> {
        let source = X509Source::builder()
            .initial_sync_timeout(within)
            .build()
            .await
            .context("no identity was given")?;
        let updates = source.updated();
        Ok(Self { source, updates })
    }

    /// Returns when a new SVID has come.
    pub(crate) async fn changed(&mut self) -> anyhow::Result<()> {
        self.updates.changed().await.context("the identity ended")?;
        Ok(())
    }

    pub(crate) fn spiffe_id(&self) -> anyhow::Result<String> {
        Ok(self.source.svid()?.spiffe_id().to_string())
    }

    pub(crate) fn serial(&self) -> anyhow::Result<String> {
        Ok(Leaf::parse(self.source.svid()?.leaf().as_bytes())?.serial)
    }

    /// TLS as this identity, now.
    pub(crate) fn client(&self) -> anyhow::Result<Arc<ClientConfig>> {
        let svid = self.source.svid()?;
        let chain = svid
            .cert_chain()
            .iter()
            .map(|certificate| owned(certificate.as_bytes()))
            .collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
            svid.private_key().as_bytes().to_vec(),
        ));
        let bundles = self.source.bundle_set()?;
        let bundle = bundles
            .get(svid.spiffe_id().trust_domain())
            .context("no bundle for our own trust domain")?;
        let roots: Vec<_> = bundle
            .authorities()
            .iter()
            .map(|root| owned(root.as_bytes()))
            .collect();
        wire::client(&roots, Some(Credentials { chain, key }))
    }
}

fn owned(der: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from(der.to_vec())
}
