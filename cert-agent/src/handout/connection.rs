//! A connection on one of our unix sockets, with the process at its other end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use daemon::metrics::Counter;

use futures_util::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    service::{InterceptorLayer, Routes},
    transport::{Server, server::Connected},
};

pub use super::budget::Limits;
use super::budget::{Budget, Place};
use crate::workload::{Peer, Refused};

/// Serves a socket until stopped.
///
/// # Errors
/// The server failed as a whole.
pub async fn serve(
    routes: Routes,
    listener: UnixListener,
    door: Door,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .layer(InterceptorLayer::new(note_request))
        .add_routes(routes)
        .serve_with_incoming_shutdown(accept(listener, door, stop.clone()), stop.cancelled())
        .await
}

/// Who may connect: so many of each user, so many in all, and nobody who then asks nothing. Everybody can reach the socket, and each connection
/// costs the agent descriptors, which its looks at scopes need.
#[derive(Debug)]
pub struct Door {
    budget: Budget,
    patience: Duration,
    refused: Counter,
}

impl Door {
    /// Lets in as many as `limits` say, each of whom has `patience` long to ask something. Those turned away are counted.
    pub fn new(limits: Limits, patience: Duration, refused: Counter) -> Self {
        Self {
            budget: Budget::new(limits),
            patience,
            refused,
        }
    }

    /// A door for a process that may have this many descriptors open.
    pub fn of_all(descriptors: u64, refused: Counter) -> Self {
        let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let total = MAX_CONNECTIONS.min(descriptors / DESCRIPTORS_PER_CONNECTION);
        let per_uid = MAX_CONNECTIONS_PER_UID.min(total / 2);
        Self::new(Limits { per_uid, total }, REQUEST_PATIENCE, refused)
    }

    /// A door for root alone, who has a connection for every program it runs.
    pub fn of_root(refused: Counter) -> Self {
        let limits = Limits {
            per_uid: MAX_CONNECTIONS,
            total: MAX_CONNECTIONS,
        };
        Self::new(limits, REQUEST_PATIENCE, refused)
    }

    /// Asks for the uid only, which takes no descriptor.
    fn admit(&self, stream: &UnixStream) -> Option<Place> {
        let place = stream
            .peer_cred()
            .ok()
            .and_then(|credentials| self.budget.take(credentials.uid()));
        if place.is_none() {
            tracing::debug!("a connection is closed at once: there are too many");
            self.refused.increment();
        }
        place
    }
}

/// One accepted connection.
pub struct Connection {
    stream: UnixStream,
    caller: Caller,
    /// Resolves when the connection must end, whatever is still open on it.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: Place,
}

/// Who is at the other end, as the kernel told it when the connection was accepted; or why that cannot be known.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Known>);

#[derive(Debug)]
struct Known {
    peer: Result<Peer, Refused>,
    /// Whether a request came on this connection.
    asked: AtomicBool,
}

impl Caller {
    /// The process.
    ///
    /// # Errors
    /// It was gone or unreadable at once.
    pub fn peer(&self) -> Result<&Peer, Refused> {
        self.0.peer.as_ref().map_err(Clone::clone)
    }
}

/// Accepts connections for as long as it is polled. A failed accept is skipped after a pause: it must neither end the server nor spin.
///
/// Once stopped, what is open on a connection has a moment to finish: tonic itself would wait for it for ever.
fn accept(
    listener: UnixListener,
    door: Door,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Connection, io::Error>> {
    UnixListenerStream::new(listener).filter_map(move |accepted| {
        let accepted = accepted.map(|stream| {
            let place = door.admit(&stream)?;
            Some(Connection::new(stream, place, door.patience, stop.clone()))
        });
        async move {
            match accepted {
                Ok(connection) => connection.map(Ok),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    None
                }
            }
        }
    })
}

impl Connection {
    fn new(stream: UnixStream, place: Place, patience: Duration, stop: CancellationToken) -> Self {
        let caller = Caller(Arc::new(Known {
            peer: Peer::of(&stream),
            asked: AtomicBool::new(false),
        }));
        let end = Box::pin(end(caller.clone(), patience, stop));
        Self {
            stream,
            caller,
            end,
            _place: place,
        }
    }
}

async fn end(caller: Caller, patience: Duration, stop: CancellationToken) {
    let idle = async {
        tokio::time::sleep(patience).await;
        if caller.0.asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => tokio::time::sleep(FINISH).await,
        () = idle => {}
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the type of an interceptor")]
fn note_request(request: Request<()>) -> Result<Request<()>, Status> {
    if let Some(caller) = request.extensions().get::<Caller>() {
        caller.0.asked.store(true, Ordering::Relaxed);
    }
    Ok(request)
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("caller", &self.caller)
            .finish_non_exhaustive()
    }
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Long enough for descriptors to come free again, short enough to go unnoticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// What is open when the agent stops has this long to finish.
const FINISH: Duration = Duration::from_secs(2);
/// Streams on one connection: Envoy opens one for each secret, all on one connection.
const MAX_STREAMS: u32 = 256;
/// 30 s: a client connects because it wants something.
const REQUEST_PATIENCE: Duration = Duration::from_secs(30);
/// As many as a hundred programs on one node, ten times over.
const MAX_CONNECTIONS: usize = 1024;
/// Each program has one connection, its proxy another.
const MAX_CONNECTIONS_PER_UID: usize = 64;
/// Four for the connection and its peer; the other half is for files, feeds and scopes.
const DESCRIPTORS_PER_CONNECTION: usize = 8;
