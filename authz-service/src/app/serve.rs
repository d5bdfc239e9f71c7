//! Binding every address, then serving it.

use std::sync::Arc;

use daemon::clock::Clock;
use daemon::health::BoundHealth;
use daemon::metrics::Registry;
use daemon::tls::{BoundTls, Incoming, TlsMetrics};
use daemon::{Lifecycle, Readiness, unix_socket};
use identity::trust_bundle::TrustBundles;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::mtls::{self, Mtls, Waiting};
use super::{Addresses, StartError, grpc_health};
use crate::admin::AdminService;
use crate::check::Checker;
use crate::config::Config;
use crate::ext_authz::listener::Listeners;
use crate::ext_authz::service::CheckService;
use crate::feed::own_svid::OwnSvid;
use crate::feed::{Agent, FeedService, Shared};
use crate::record::{Metrics, Recorder};
use crate::snapshot::writer::{Commands, Snapshots};

/// Every address, bound and not yet served.
pub(super) struct Bound {
    health: BoundHealth,
    feed: BoundTls,
    check_tcp: Option<BoundTls>,
    check_unix: Option<UnixListener>,
    admin: UnixListener,
}

/// All that serving needs.
pub(super) struct Serving {
    pub(super) config: Config,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) lifecycle: Lifecycle,
    pub(super) registry: Registry,
    pub(super) readiness: Readiness,
    pub(super) metrics: Metrics,
    pub(super) commands: Commands,
    pub(super) snapshots: Snapshots,
    pub(super) roots: watch::Receiver<TrustBundles>,
    pub(super) checker: Arc<Checker>,
    pub(super) recorder: Arc<Recorder>,
    /// Where Checks run.
    pub(super) lane: Handle,
}

impl Bound {
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let check_tcp = match config.check_tcp {
            Some(listen) => Some(BoundTls::bind(listen).await.map_err(StartError::Tls)?),
            None => None,
        };
        let check_unix = config
            .check_unix
            .as_ref()
            .map(|unix| unix_socket::bind(&unix.path, CHECK_SOCKET_MODE, unix.group))
            .transpose()
            .map_err(StartError::Socket)?;
        Ok(Self {
            health: BoundHealth::bind(config.health)
                .await
                .map_err(StartError::Health)?,
            feed: BoundTls::bind(config.feed).await.map_err(StartError::Tls)?,
            check_tcp,
            check_unix,
            admin: unix_socket::bind(&config.admin_socket(), ADMIN_SOCKET_MODE, None)
                .map_err(StartError::Socket)?,
        })
    }

    pub(super) fn addresses(&self, config: &Config) -> Addresses {
        Addresses {
            check_tcp: self.check_tcp.as_ref().map(BoundTls::local_addr),
            check_unix: config.check_unix.as_ref().map(|unix| unix.path.clone()),
            feed: self.feed.local_addr(),
            health: self.health.local_addr(),
            admin: config.admin_socket(),
        }
    }
}

impl Serving {
    /// Serves what was bound: local sockets at once, mTLS with the first certificate.
    pub(super) async fn serve(self, bound: Bound) {
        let Bound {
            health,
            feed,
            check_tcp,
            check_unix,
            admin,
        } = bound;
        let listeners = self.listeners().await;
        if let (Some(listener), Some(_)) = (check_unix, &self.config.check_unix) {
            let _on_the_lane = self.lane.enter();
            listeners.serve_unix(listener, self.config.proxy_uids.clone());
        }
        self.admin().serve(admin, &self.lifecycle);

        let missing = self.readiness.wait_for("own certificate");
        let own = OwnSvid::new(
            self.config.workload_api.clone(),
            self.config.trust_domain.clone(),
            missing,
        );
        let mtls = Mtls {
            svid: own.subscribe(),
            roots: self.roots.clone(),
            clock: Arc::clone(&self.clock),
            metrics: TlsMetrics::new(&self.registry),
            lifecycle: self.lifecycle.clone(),
        };
        let waiting = std::iter::once(self.feed(feed))
            .chain(check_tcp.map(|bound| self.check_tcp(bound, listeners)));
        self.lifecycle
            .spawn("mtls", mtls.run(waiting.collect(), self.lifecycle.token()));
        self.lifecycle
            .spawn("own-svid", own.run(self.lifecycle.token()));
        health.serve(&self.lifecycle, self.readiness, self.registry);
    }

    async fn listeners(&self) -> Listeners {
        let health = grpc_health::reporter(&self.lifecycle, &self.readiness).await;
        let judge = Arc::clone(&self.checker);
        let service = CheckService::new(judge, Arc::clone(&self.clock), MAX_CHECKS);
        Listeners::new(Arc::new(service), health, self.lifecycle.clone())
    }

    fn admin(&self) -> AdminService {
        AdminService {
            recorder: Arc::clone(&self.recorder),
            records: self.config.records.file.clone(),
            snapshots: self.snapshots.clone(),
            readiness: self.readiness.clone(),
        }
    }

    fn check_tcp(&self, bound: BoundTls, listeners: Listeners) -> Waiting {
        let (lane, trusted) = (self.lane.clone(), self.config.proxy_identities.clone());
        let serve = move |incoming| {
            let _on_the_lane = lane.enter();
            listeners.serve_tls(incoming, trusted);
        };
        Waiting {
            name: "check",
            bound,
            allowed: mtls::everybody(),
            serve: Box::new(serve),
        }
    }

    fn feed(&self, bound: BoundTls) -> Waiting {
        let shared = Shared {
            commands: self.commands.clone(),
            snapshots: self.snapshots.clone(),
            clock: Arc::clone(&self.clock),
            metrics: self.metrics.clone(),
            stop: self.lifecycle.token(),
        };
        let agents = &self.config.agents;
        let roster = agents.iter().map(|(identity, may_vouch_for)| Agent {
            identity: identity.clone(),
            may_vouch_for: may_vouch_for.clone(),
        });
        let service = FeedService::new(roster, shared);
        let lifecycle = self.lifecycle.clone();
        let serve = move |incoming: Incoming| service.serve(incoming, &lifecycle);
        let agents = agents.keys().cloned().collect();
        Waiting {
            name: "feed",
            bound,
            allowed: mtls::only(agents),
            serve: Box::new(serve),
        }
    }
}

/// 0660: root, this service's uid, and the proxies' group.
const CHECK_SOCKET_MODE: u32 = 0o660;

/// 0600: root and this service's uid.
const ADMIN_SOCKET_MODE: u32 = 0o600;

/// 1 024 Checks at a time // more than that waits longer than any proxy does.
const MAX_CHECKS: usize = 1024;
