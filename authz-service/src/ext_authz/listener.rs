//! The connections that Checks arrive on: a unix socket for local proxies, mTLS TCP for all others.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use daemon::Lifecycle;
use daemon::tls::{Incoming, PeerStream};
use identity::spiffe_id::SpiffeId;
use policy::pattern::IdentityPattern;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;
use tracing::warn;

use super::service::{CheckService, Connection, Proxy, Standing};
use routes::Routes;

mod http2;
mod routes;

/// Serves Checks, and gRPC health beside them, on the connections of any number of listeners.
///
/// All of them run on the runtime that calls `serve_unix` and `serve_tls`: the one lane there is so far.
#[derive(Clone, Debug)]
pub struct Listeners {
    routes: Routes,
    lifecycle: Lifecycle,
}

impl Listeners {
    /// Serves with this service; `health` is what gRPC health answers.
    pub fn new(service: Arc<CheckService>, health: HealthReporter, lifecycle: Lifecycle) -> Self {
        Self {
            routes: Routes::new(service, health),
            lifecycle,
        }
    }

    /// Serves local processes. Those whose uid is not among `trusted` are denied, not turned away.
    pub fn serve_unix(&self, listener: UnixListener, trusted: BTreeSet<u32>) {
        let places = Arc::new(Semaphore::new(MAX_UNIX_CONNECTIONS));
        self.lifecycle.spawn(
            "check-unix",
            self.clone().accept_unix(listener, trusted, places),
        );
    }

    /// Serves peers on TCP whose handshake is done. Those that match no pattern of `trusted` are denied, not turned away.
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
        let served = http2::serve(
            stream,
            connection,
            self.routes.clone(),
            self.lifecycle.clone(),
            CancellationToken::new(),
        );
        self.lifecycle.spawn_brief("check-connection", async move {
            let _place = place;
            served.await;
        });
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
        let served = http2::serve(
            stream,
            connection,
            self.routes.clone(),
            self.lifecycle.clone(),
            peer.retiring(),
        );
        self.lifecycle.spawn_brief("check-connection", served);
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
