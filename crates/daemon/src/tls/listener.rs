//! Owns the accepting of connections: bounded handshakes, each with a deadline, and the verified streams that come of them.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use identity::Leaf;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    ALPN_H2, HotServerConfig, Peer, PeerStream, TlsError,
    lifetime::{Lifetime, Trust},
};
use crate::{
    Lifecycle, chain,
    metrics::{Counter, Family, Registry},
};

/// How long to wait after a failed accept, so that a full table of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Verified connections that wait to be served.
const QUEUE: usize = 16;

/// What a listener allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsLimits {
    /// Most handshakes at once; further ones wait in the backlog.
    pub handshakes: usize,
    /// How long one handshake may take.
    pub handshake_timeout: Duration,
    /// Most connections at once, handshakes included.
    pub connections: usize,
    /// How long a connection lives at most.
    pub max_age: Duration,
}

impl Default for TlsLimits {
    /// 256 handshakes of 5 s, 4096 connections of an hour: room for every worker of some hundred proxies.
    fn default() -> Self {
        Self {
            handshakes: 256,
            handshake_timeout: Duration::from_secs(5),
            connections: 4096,
            max_age: Duration::from_hours(1),
        }
    }
}

/// What listeners count.
#[derive(Debug, Clone)]
pub struct TlsMetrics {
    handshakes: Family<Counter>,
}

impl TlsMetrics {
    /// Registers the counters. Once per program.
    pub fn new(registry: &Registry) -> Self {
        Self {
            handshakes: registry.counters(
                "countersign_tls_handshakes_total",
                "TLS handshakes by listener and outcome.",
                &["listener", "outcome"],
            ),
        }
    }
}

/// An address that was bound and is not yet served.
#[derive(Debug)]
pub struct BoundTls {
    listener: TcpListener,
    address: SocketAddr,
}

impl BoundTls {
    /// Binds `listen`. Port 0 takes a free one.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(listen: SocketAddr) -> Result<Self, TlsError> {
        let failed = |source| TlsError::Address {
            address: listen.to_string(),
            source,
        };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// The address that was bound.
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Accepts connections as the part `name` of the program, until it stops.
    pub fn serve(
        self,
        name: &'static str,
        lifecycle: &Lifecycle,
        config: Arc<HotServerConfig>,
        limits: TlsLimits,
        metrics: &TlsMetrics,
    ) -> Incoming {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let accepting = Accepting {
            listener: self.listener,
            places: Arc::new(Semaphore::new(limits.connections)),
            handshakes: JoinSet::new(),
            handshake: Handshake {
                name,
                config,
                limits,
                metrics: metrics.clone(),
                sender,
            },
        };
        lifecycle.spawn(name, accepting.run(lifecycle.token()));
        Incoming(receiver)
    }
}

/// Verified connections as they come. A stream, as tonic's `serve_with_incoming` takes it.
#[derive(Debug)]
pub struct Incoming(mpsc::Receiver<PeerStream>);

impl Incoming {
    /// The next connection; nothing once the listener has stopped.
    pub async fn next(&mut self) -> Option<PeerStream> {
        self.0.recv().await
    }
}

impl Stream for Incoming {
    type Item = io::Result<PeerStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|stream| stream.map(Ok))
    }
}

struct Accepting {
    listener: TcpListener,
    places: Arc<Semaphore>,
    handshakes: JoinSet<()>,
    handshake: Handshake,
}

impl Accepting {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                Some(_ended) = self.handshakes.join_next() => {}
                accepted = accept(&self.listener, &self.places), if self.handshakes.len() < self.handshake.limits.handshakes => {
                    self.on_accepted(accepted).await;
                }
            }
        }
    }

    async fn on_accepted(
        &mut self,
        accepted: io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)>,
    ) {
        match accepted {
            Ok((stream, remote, place)) => {
                let handshake = self.handshake.clone();
                self.handshakes.spawn(handshake.run(stream, remote, place));
            }
            Err(error) => {
                warn!(listener = self.handshake.name, %error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[derive(Clone)]
struct Handshake {
    name: &'static str,
    config: Arc<HotServerConfig>,
    limits: TlsLimits,
    metrics: TlsMetrics,
    sender: mpsc::Sender<PeerStream>,
}

impl Handshake {
    async fn run(self, stream: TcpStream, remote: SocketAddr, place: OwnedSemaphorePermit) {
        let result = match timeout(
            self.limits.handshake_timeout,
            self.verified(stream, remote, place),
        )
        .await
        {
            Ok(result) => result,
            Err(_elapsed) => Err(TlsError::Timeout {
                address: remote.to_string(),
            }),
        };
        match result {
            Ok(stream) => {
                self.count("accepted");
                // The receiver is gone only when the program stops.
                drop(self.sender.send(stream).await);
            }
            Err(error) => {
                self.count("refused");
                info!(listener = self.name, error = %chain(&error), "a connection was refused");
            }
        }
    }

    async fn verified(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        place: OwnedSemaphorePermit,
    ) -> Result<PeerStream, TlsError> {
        let failed = |source| TlsError::from_handshake(&remote, source);
        stream.set_nodelay(true).map_err(failed)?;
        let judged = self.config.current();
        let stream = TlsAcceptor::from(Arc::clone(&judged.config))
            .accept(stream)
            .await
            .map_err(failed)?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(ALPN_H2) {
            return Err(TlsError::Protocol {
                address: remote.to_string(),
            });
        }
        let (leaf_der, intermediates) = session
            .peer_certificates()
            .and_then(<[_]>::split_first)
            .ok_or(TlsError::ChainEmpty)?;
        let leaf = Leaf::parse(leaf_der).map_err(|source| TlsError::Leaf { source })?;
        let trust = Trust {
            leaf: leaf_der.clone(),
            intermediates: intermediates.to_vec(),
            hot: Arc::clone(&self.config),
            judged,
        };
        let not_after = leaf.not_after;
        let peer = Peer::new(leaf, intermediates.to_vec(), remote);
        let lifetime = Lifetime {
            clock: Arc::clone(self.config.clock()),
            not_after,
            max_age: self.limits.max_age,
            retire: peer.retiring(),
            trust: Some(trust),
        };
        Ok(PeerStream::new(stream.into(), peer, lifetime, Some(place)))
    }

    fn count(&self, outcome: &str) {
        self.metrics
            .handshakes
            .with(&[self.name, outcome])
            .increment();
    }
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote, place))
}
