//! A connection on one of our unix sockets, with the process at its other end.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::workload::{Peer, Refused};

/// One accepted connection.
pub struct Connection {
    stream: UnixStream,
    caller: Caller,
    /// Resolves when the connection must end, whatever is still open on it.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Who is at the other end, as the kernel told it when the connection was accepted; or why that cannot be known.
#[derive(Debug, Clone)]
pub struct Caller(Arc<Result<Peer, Refused>>);

impl Caller {
    /// The process.
    ///
    /// # Errors
    /// It was gone or unreadable at once.
    pub fn peer(&self) -> Result<&Peer, Refused> {
        self.0.as_ref().as_ref().map_err(Clone::clone)
    }
}

/// Accepts connections for as long as it is polled. A failed accept is skipped after a pause: it must neither end the server nor spin.
///
/// Once stopped, what is open on a connection has a moment to finish: tonic itself would wait for it for ever.
pub fn accept(
    listener: UnixListener,
    stop: CancellationToken,
) -> impl Stream<Item = Result<Connection, io::Error>> {
    UnixListenerStream::new(listener).filter_map(move |accepted| {
        let stop = stop.clone();
        async move {
            match accepted {
                Ok(stream) => Some(Ok(Connection::new(stream, stop))),
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
    fn new(stream: UnixStream, stop: CancellationToken) -> Self {
        let caller = Caller(Arc::new(Peer::of(&stream)));
        let end = Box::pin(async move {
            stop.cancelled().await;
            tokio::time::sleep(FINISH).await;
        });
        Self {
            stream,
            caller,
            end,
        }
    }
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
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);
/// What is open when the agent stops has this long to finish.
const FINISH: std::time::Duration = std::time::Duration::from_secs(2);
