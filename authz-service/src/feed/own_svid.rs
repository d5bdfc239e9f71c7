//! This replica's own certificate: followed on the Workload API, and handed on whenever it is renewed.

use std::time::Duration;

use daemon::Backoff;
use daemon::readiness::Missing;
use daemon::tls::{SvidMaterial, TlsError};
use futures_util::StreamExt as _;
use identity::spiffe_id::TrustDomain;
use rustls::pki_types::CertificateDer;
use spiffe::workload_api::WorkloadApiError;
use spiffe::{WorkloadApiClient, X509Svid};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Follows the Workload API for this replica's own certificate.
#[derive(Debug)]
pub struct OwnSvid {
    workload_api: String,
    trust_domain: TrustDomain,
    current: watch::Sender<Option<SvidMaterial>>,
    missing: Option<Missing>,
}

/// Why what the Workload API gave is no certificate of ours.
#[derive(Debug, thiserror::Error)]
enum NoSvid {
    #[error("the Workload API does not answer with a certificate")]
    Source(#[source] WorkloadApiError),
    #[error("the Workload API's certificate cannot be used")]
    Material(#[source] TlsError),
    #[error("the certificate is for trust domain `{got}`, the configuration says `{wanted}`")]
    TrustDomain {
        got: TrustDomain,
        wanted: TrustDomain,
    },
}

impl OwnSvid {
    /// Will follow `workload_api`. `missing` is done with the first certificate.
    pub fn new(workload_api: String, trust_domain: TrustDomain, missing: Missing) -> Self {
        Self {
            workload_api,
            trust_domain,
            current: watch::Sender::new(None),
            missing: Some(missing),
        }
    }

    /// The certificate now and later. `None` until the first.
    pub fn subscribe(&self) -> watch::Receiver<Option<SvidMaterial>> {
        self.current.subscribe()
    }

    /// Follows until `stop`. The last certificate stays when the Workload API goes away.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LAST);
        let mut told = None;
        loop {
            let error = match self.follow_stream(&mut backoff).await {
                Ok(()) => "the Workload API ended the stream".to_owned(),
                Err(error) => daemon::chain(&error),
            };
            if told.as_ref() != Some(&error) {
                warn!(workload_api = %self.workload_api, %error, "no own certificate from the Workload API; trying again");
                told = Some(error);
            }
            backoff.wait().await;
        }
    }

    async fn follow_stream(&mut self, backoff: &mut Backoff) -> Result<(), NoSvid> {
        let client = WorkloadApiClient::connect_to(&self.workload_api)
            .await
            .map_err(NoSvid::Source)?;
        let mut svids = client.stream_x509_svids().await.map_err(NoSvid::Source)?;
        while let Some(svid) = svids.next().await {
            self.take(&svid.map_err(NoSvid::Source)?)?;
            backoff.reset();
        }
        Ok(())
    }

    fn take(&mut self, svid: &X509Svid) -> Result<(), NoSvid> {
        let chain = svid
            .cert_chain()
            .iter()
            .map(|certificate| CertificateDer::from(certificate.as_bytes().to_vec()));
        let material = SvidMaterial::new(chain.collect(), svid.private_key().as_bytes())
            .map_err(NoSvid::Material)?;
        let identity = &material.leaf().spiffe_id;
        if *identity.trust_domain() != self.trust_domain {
            return Err(NoSvid::TrustDomain {
                got: identity.trust_domain().clone(),
                wanted: self.trust_domain.clone(),
            });
        }
        info!(spiffe_id = %identity, serial = %material.leaf().serial, "own certificate in use");
        self.current.send_replace(Some(material));
        if let Some(missing) = self.missing.take() {
            missing.done();
        }
        Ok(())
    }
}

/// 200 ms // the agent that starts us is there before we are.
const RETRY_FIRST: Duration = Duration::from_millis(200);

/// 5 s // an agent that restarts is back in that time.
const RETRY_LAST: Duration = Duration::from_secs(5);
