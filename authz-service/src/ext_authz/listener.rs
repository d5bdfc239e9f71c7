//! The connections that Checks arrive on: a unix socket for local proxies, mTLS TCP for all others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use daemon::Lifecycle;
use daemon::tls::{Incoming, PeerStream};
use identity::spiffe_id::SpiffeId;
use policy::pattern::IdentityPattern;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;
use tracing::{debug, warn};

use super::service::{CheckService, Connection, Proxy, Standing};
use routes::Routes;
use strangers::Strangers;

mod http2;
mod routes;
mod strangers;

/// Serves Checks, and gRPC health beside them, on the connections of any number of listeners.
///
/// All of them run on the runtime that calls `serve_unix` and `serve_tls`: the one lane there is so far.
#[derive(Clone, Debug)]
pub struct Listeners {
    routes: Routes,
    lifecycle: Lifecycle,
    strangers: Strangers,
}

impl Listeners {
    /// Serves with this service; `health` is what gRPC health answers.
    pub fn new(service: Arc<CheckService>, health: HealthReporter, lifecycle: Lifecycle) -> Self {
        Self {
            routes: Routes::new(service, health),
            lifecycle,
            strangers: Strangers::default(),
        }
    }

    /// Serves local processes. Those whose uid is not among `trusted` are denied, not turned away, on a few connections each.
    pub fn serve_unix(&self, listener: UnixListener, trusted: BTreeSet<u32>) {
        let places = Arc::new(Semaphore::new(MAX_UNIX_CONNECTIONS));
        self.lifecycle.spawn(
            "check-unix",
            self.clone().accept_unix(listener, trusted, places),
        );
    }

    /// Serves peers on TCP whose handshake is done. Those that match no pattern of `trusted` are denied, not turned away, on a few
    /// connections each.
    ///
    /// INVARIANT: the listener's `AllowedPeers` admits every verified identity, else an unknown proxy would see a closed connection,
    /// and take that for leave if it has `failure_mode_allow`.
    pub fn serve_tls(&self, incoming: Incoming, trusted: Vec<IdentityPattern>) {
        self.lifecycle
            .spawn("check-tcp", self.clone().accept_tls(incoming, trusted));
    }

    async fn accept_unix(
        self,
        listener: UnixListener,
        trusted: BTreeSet<u32>,
        places: Arc<Semaphore>,
    ) {
        let stop = self.lifecycle.token();
        while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &places)).await {
            match accepted {
                Ok((stream, place)) => self.connect_unix(stream, &trusted, place),
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connect_unix(
        &self,
        stream: UnixStream,
        trusted: &BTreeSet<u32>,
        place: OwnedSemaphorePermit,
    ) {
        // A peer that the kernel cannot name is nobody.
        let uid = stream.peer_cred().map_or(NOBODY, |peer| peer.uid());
        let connection = Connection {
            proxy: Proxy::Local { uid },
            standing: standing(trusted.contains(&uid)),
        };
        self.serve(stream, connection, CancellationToken::new(), Some(place));
    }

    async fn accept_tls(self, mut incoming: Incoming, trusted: Vec<IdentityPattern>) {
        let stop = self.lifecycle.token();
        while let Some(Some(stream)) = stop.run_until_cancelled(incoming.next()).await {
            self.connect_tls(stream, &trusted);
        }
        // The queue closes only when the program stops; this part ends with it.
        stop.cancelled().await;
    }

    fn connect_tls(&self, stream: PeerStream, trusted: &[IdentityPattern]) {
        let peer = stream.peer().clone();
        let id: SpiffeId = peer.spiffe_id().clone();
        let standing = standing(trusted.iter().any(|pattern| pattern.matches(&id)));
        let connection = Connection {
            proxy: Proxy::Remote(id),
            standing,
        };
        self.serve(stream, connection, peer.retiring(), None);
    }

    /// Serves one connection, unless its proxy is untrusted and holds as many as it may.
    fn serve<S>(
        &self,
        stream: S,
        connection: Connection,
        retire: CancellationToken,
        place: Option<OwnedSemaphorePermit>,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(counted) = self.strangers.place(&connection) else {
            return debug!(proxy = ?connection.proxy, "an untrusted proxy has too many connections");
        };
        let (routes, lifecycle) = (self.routes.clone(), self.lifecycle.clone());
        let served = http2::serve(stream, connection, routes, lifecycle, retire);
        self.lifecycle.spawn_brief("check-connection", async move {
            let _places = (place, counted);
            served.await;
        });
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &UnixListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _address) = listener.accept().await?;
    Ok((stream, place))
}

const fn standing(named: bool) -> Standing {
    if named {
        Standing::Trusted
    } else {
        Standing::Untrusted
    }
}

/// 1024 // a proxy holds one connection per worker.
const MAX_UNIX_CONNECTIONS: usize = 1024;
/// 100 ms // a full table of descriptors must not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The kernel's overflow uid, of which no configuration speaks.
const NOBODY: u32 = u32::MAX;

#[cfg(test)]
mod tests;
