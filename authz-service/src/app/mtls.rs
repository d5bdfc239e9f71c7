//! The mTLS listeners: served once there is an own certificate, and reconfigured with every new one.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon::Lifecycle;
use daemon::clock::Clock;
use daemon::tls::{
    AllowedPeers, BoundTls, HotServerConfig, Incoming, ServerIdentity, SvidMaterial, TlsError,
    TlsLimits, TlsMetrics,
};
use identity::spiffe_id::SpiffeId;
use identity::trust_bundle::TrustBundles;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// One listener, bound and waiting for the certificate.
pub(super) struct Waiting {
    pub(super) name: &'static str,
    pub(super) bound: BoundTls,
    pub(super) allowed: AllowedPeers,
    /// What to do with its connections.
    pub(super) serve: Box<dyn FnOnce(Incoming) + Send>,
}

/// Keeps the listeners' certificate and roots current.
pub(super) struct Mtls {
    pub(super) svid: watch::Receiver<Option<SvidMaterial>>,
    pub(super) roots: watch::Receiver<TrustBundles>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: TlsMetrics,
    pub(super) lifecycle: Lifecycle,
}

/// A listener that is served.
struct Served {
    name: &'static str,
    config: Arc<HotServerConfig>,
    allowed: AllowedPeers,
}

impl Mtls {
    /// Serves every listener from the first certificate on, until `stop`.
    pub(super) async fn run(mut self, waiting: Vec<Waiting>, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep(waiting)).await;
    }

    async fn keep(&mut self, waiting: Vec<Waiting>) {
        let Some(material) = self.first().await else {
            return std::future::pending().await;
        };
        let mut served = Vec::new();
        for listener in waiting {
            match self.serve(listener, &material) {
                Ok(listener) => served.push(listener),
                // The part ends, and the program with it: a listener without TLS is none.
                Err(failed) => {
                    return error!(error = %daemon::chain(&failed), "mTLS cannot be configured");
                }
            }
        }
        while self.changed().await {
            self.replace(&served);
        }
    }

    async fn first(&mut self) -> Option<SvidMaterial> {
        self.svid
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|material| material.clone())
    }

    /// A new certificate, or new roots. `false` when both are gone, which is the end of the program.
    async fn changed(&mut self) -> bool {
        tokio::select! {
            changed = self.svid.changed() => changed.is_ok(),
            changed = self.roots.changed() => changed.is_ok(),
        }
    }

    fn serve(&self, waiting: Waiting, material: &SvidMaterial) -> Result<Served, TlsError> {
        let Waiting {
            name,
            bound,
            allowed,
            serve,
        } = waiting;
        let identity = self.identity(material, &allowed);
        let config = Arc::new(HotServerConfig::new(identity, Arc::clone(&self.clock))?);
        serve(bound.serve(
            name,
            &self.lifecycle,
            Arc::clone(&config),
            TlsLimits::default(),
            &self.metrics,
        ));
        Ok(Served {
            name,
            config,
            allowed,
        })
    }

    fn replace(&mut self, served: &[Served]) {
        let Some(material) = self.svid.borrow_and_update().clone() else {
            return;
        };
        for Served {
            name,
            config,
            allowed,
        } in served
        {
            if let Err(failed) = config.replace(self.identity(&material, allowed)) {
                warn!(listener = name, error = %daemon::chain(&failed), "new certificate cannot be used; the last good one stays");
            }
        }
    }

    fn identity(&self, material: &SvidMaterial, allowed: &AllowedPeers) -> ServerIdentity {
        ServerIdentity {
            material: material.clone(),
            bundles: self.roots.borrow().clone(),
            allowed: allowed.clone(),
        }
    }
}

/// Nobody but these.
pub(super) fn only(identities: BTreeSet<SpiffeId>) -> AllowedPeers {
    AllowedPeers::new(move |peer| identities.contains(peer))
}

/// Everybody who proves an identity: an unknown proxy is answered with a denial, since it may take a closed connection for leave.
pub(super) fn everybody() -> AllowedPeers {
    AllowedPeers::new(|_peer| true)
}
