//! Owns one verified connection: its bytes, its peer, and its end.

use std::{
    fmt,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use identity::{Leaf, SpiffeId};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::lifetime::{End, Lifetime};

/// Who is at the other end of a connection. Cheap to clone: tonic hands it to every request as connection information.
#[derive(Clone)]
pub struct Peer(Arc<PeerFacts>);

struct PeerFacts {
    leaf: Leaf,
    intermediates: Vec<CertificateDer<'static>>,
    address: SocketAddr,
    retire: CancellationToken,
}

impl Peer {
    pub(super) fn new(
        leaf: Leaf,
        intermediates: Vec<CertificateDer<'static>>,
        address: SocketAddr,
    ) -> Self {
        Self(Arc::new(PeerFacts {
            leaf,
            intermediates,
            address,
            retire: CancellationToken::new(),
        }))
    }

    /// The peer's certificate, verified in the handshake.
    pub fn leaf(&self) -> &Leaf {
        &self.0.leaf
    }

    /// The peer's identity.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.0.leaf.spiffe_id
    }

    /// The intermediates that came with the certificate.
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.0.intermediates
    }

    /// Where the peer connects from, or is connected to.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Cancelled shortly before the connection ends by age or by the peer's certificate: finish what is in flight.
    pub fn retiring(&self) -> CancellationToken {
        self.0.retire.clone()
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("spiffe_id", &self.0.leaf.spiffe_id)
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}

/// A connection to a verified peer. Reading and writing fail once the peer's certificate has expired, the connection is too old,
/// or the peer is no longer trusted.
pub struct PeerStream {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    lifetime: Pin<Box<dyn Future<Output = End> + Send>>,
    ended: Option<End>,
    /// The connection's place among those that are allowed at once.
    _place: Option<OwnedSemaphorePermit>,
}

impl PeerStream {
    pub(super) fn new(
        stream: TlsStream<TcpStream>,
        peer: Peer,
        lifetime: Lifetime,
        place: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            stream,
            peer,
            lifetime: Box::pin(lifetime.end()),
            ended: None,
            _place: place,
        }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// An error from the moment of the end on.
    fn check_alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.ended.is_none()
            && let Poll::Ready(end) = self.lifetime.as_mut().poll(cx)
        {
            self.ended = Some(end);
        }
        match self.ended {
            None => Ok(()),
            Some(end) => Err(io::Error::new(io::ErrorKind::ConnectionAborted, end)),
        }
    }
}

impl AsyncRead for PeerStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_alive(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for PeerStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check_alive(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check_alive(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        Poll::Ready(Ok(()))
    }
}

impl Connected for PeerStream {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl fmt::Debug for PeerStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStream")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
