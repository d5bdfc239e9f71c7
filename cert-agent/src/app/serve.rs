//! The agent while it serves: its tasks, its two sockets, and its end.

use std::{sync::Arc, time::Duration};

use daemon::{Lifecycle, Outcome, chain, clock::Clock, health};
use tokio::{net::UnixListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::{error, info};

use super::{Addresses, Agent, StartError};
use crate::{
    admin::Admin,
    admit::Admit,
    exec::Admission,
    feed::{Feed, ReplicaFeed, Sources},
    handout::{
        self,
        connection::{self, Door},
        counter::Counter,
        files::Files,
    },
    issuer::{Authorities, Issuer as _},
    rotation::Attestor,
};

/// An agent that serves.
#[derive(Debug)]
pub struct Running {
    lifecycle: Lifecycle,
    addresses: Addresses,
}

impl Running {
    /// Where it is to be found.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its tasks, and the way to stop them.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Waits for the stop, and for what is in flight.
    pub async fn finish(self) -> Outcome {
        self.lifecycle.drain(DRAIN_DEADLINE).await
    }
}

impl Agent {
    /// Begins to serve.
    ///
    /// # Errors
    /// Where it is to be found could not be written down.
    pub async fn serve(self) -> Result<Running, StartError> {
        let addresses = Addresses {
            health: self.health.local_addr(),
        };
        addresses
            .write(&self.config.runtime)
            .map_err(|source| StartError::Addresses { source })?;
        info!(agent = %self.config.agent, health = %addresses.health, socket = %self.config.socket().display(), "agent serves");
        let lifecycle = self.lifecycle.clone();
        let authorities = self.ca.authorities();
        self.start_feeds(&authorities);
        let api = self.api_routes(&authorities).await?;
        let admin = self.admin_routes(&authorities)?;
        let Self {
            clock,
            readiness,
            registry,
            ca,
            policy,
            own,
            feed,
            socket,
            admin_socket,
            health,
            metrics,
            descriptors,
            ..
        } = self;
        health.serve(&lifecycle, readiness, registry);
        let stop = || lifecycle.token();
        lifecycle.spawn("embedded-ca", ca.run(stop()));
        lifecycle.spawn("policy", policy.run(stop()));
        lifecycle.spawn("own-identity", own.run(stop()));
        lifecycle.spawn("feed-ledger", forget_ended(feed, clock, stop()));
        let door = Door::of_all(descriptors, metrics.connections_refused.clone());
        let admin_door = Door::of_root(metrics.connections_refused);
        lifecycle.spawn(
            "agent-socket",
            serve("agent-socket", api, socket, door, stop()),
        );
        lifecycle.spawn(
            "admin-socket",
            serve("admin-socket", admin, admin_socket, admin_door, stop()),
        );
        Ok(Running {
            lifecycle,
            addresses,
        })
    }

    fn start_feeds(&self, authorities: &watch::Receiver<Arc<Authorities>>) {
        let since_epoch = self
            .clock
            .now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let sources = Sources {
            node: self.config.agent.clone(),
            feed: self.feed.clone(),
            own: self.own.svid(),
            authorities: authorities.clone(),
            grants: self.policy.grants(),
            clock: Arc::clone(&self.clock),
            // Starts are told apart by their time; nothing has to be kept for it.
            roster_epoch: since_epoch.as_secs(),
            metrics: self.metrics.clone(),
        };
        for replica in &self.config.replicas {
            let feed = ReplicaFeed::new(replica.clone(), sources.clone());
            self.lifecycle
                .spawn("feed", feed.run(self.lifecycle.token()));
        }
    }

    async fn api_routes(
        &self,
        authorities: &watch::Receiver<Arc<Authorities>>,
    ) -> Result<Routes, StartError> {
        let attestor: Arc<dyn Attestor> = Arc::new(self.scopes.clone());
        let counter = Counter::new(
            attestor,
            self.judge.clone(),
            self.rotation.clone(),
            self.refusals.clone(),
            authorities.clone(),
            self.lifecycle.token(),
        );
        let health =
            health::grpc(&self.lifecycle, &self.readiness, handout::routes::SERVICES).await;
        handout::routes::routes(counter, health).map_err(|source| StartError::Reflection { source })
    }

    fn admin_routes(
        &self,
        authorities: &watch::Receiver<Arc<Authorities>>,
    ) -> Result<Routes, StartError> {
        let files = Files::new(
            self.rotation.clone(),
            authorities.clone(),
            self.lifecycle.clone(),
        );
        let admission: Arc<dyn Admission> = Arc::new(Admit {
            judge: self.judge.clone(),
            refusals: self.refusals.clone(),
            files,
            socket: self.config.socket(),
        });
        let admin = Admin {
            scopes: self.scopes.clone(),
            admission,
            rotation: self.rotation.clone(),
            refusals: self.refusals.clone(),
        };
        admin
            .routes()
            .map_err(|source| StartError::Reflection { source })
    }
}

async fn serve(
    name: &'static str,
    routes: Routes,
    listener: UnixListener,
    door: Door,
    stop: CancellationToken,
) {
    if let Err(failure) = connection::serve(routes, listener, door, stop).await {
        error!(socket = name, error = %chain(&failure), "a socket is no longer served");
    }
}

async fn forget_ended(feed: Feed, clock: Arc<dyn Clock>, stop: CancellationToken) {
    while stop
        .run_until_cancelled(tokio::time::sleep(FORGET_EVERY))
        .await
        .is_some()
    {
        feed.forget_ended(clock.now());
    }
}

/// Streams end at once when told; what takes longer hangs.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
/// Ended bindings take only memory.
const FORGET_EVERY: Duration = Duration::from_secs(30);
