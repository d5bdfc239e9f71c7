//! One TLS connection to a proxy, and the HTTP/2 requests on it, byte for byte as the test wants them.

mod message;

use std::error::Error as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use identity::x509_svid::Leaf;
use rustls::client::WebPkiServerVerifier;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub use message::{Call, Reply};

/// A certificate chain and its key, as a caller presents them.
#[derive(Debug)]
pub struct Credentials {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
        }
    }
}

/// Whom a connection presents itself as, and which roots it believes.
///
/// The server must be `localhost` under one of `roots`.
///
/// # Errors
///
/// When the credentials do not fit each other.
pub fn client(
    roots: &[CertificateDer<'static>],
    credentials: Option<Credentials>,
) -> anyhow::Result<Arc<ClientConfig>> {
    client_of(rustls::DEFAULT_VERSIONS, roots, credentials)
}

/// The same in TLS 1.2, where a client hears of its refusal within the handshake. In TLS 1.3 it may have begun to send,
/// and then sees a broken pipe as often as the alert.
///
/// # Errors
///
/// When the credentials do not fit each other.
pub fn client_tls12(
    roots: &[CertificateDer<'static>],
    credentials: Option<Credentials>,
) -> anyhow::Result<Arc<ClientConfig>> {
    client_of(&[&rustls::version::TLS12], roots, credentials)
}

fn client_of(
    versions: &[&'static SupportedProtocolVersion],
    roots: &[CertificateDer<'static>],
    credentials: Option<Credentials>,
) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root.clone())?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider))
            .build()?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_webpki_verifier(verifier);
    let mut config = match credentials {
        Some(Credentials { chain, key }) => builder.with_client_auth_cert(chain, key)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// No reply came.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nobody listens.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The TLS handshake ended in an alert: in TLS 1.3 a client learns of its refusal at the first read.
    #[error("refused in the handshake: {0}")]
    Handshake(String),
    /// The connection ended before a reply.
    #[error("no reply: {0}")]
    NoReply(String),
    /// Nothing came in time.
    #[error("no reply within {0:?}")]
    Deadline(Duration),
    /// Not a request that HTTP/2 can carry.
    #[error("not a request")]
    Request(#[source] http::Error),
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Serial number of the certificate that the server showed, lower-case hex.
    pub server_serial: String,
    // The connection's own task; it ends with this value.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    ///
    /// When nobody listens or a side refuses the other's certificate.
    pub async fn open(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Self, WireError> {
        match timeout(PATIENCE, Self::open_now(address, config)).await {
            Ok(opened) => opened,
            Err(_elapsed) => Err(WireError::Deadline(PATIENCE)),
        }
    }

    async fn open_now(address: SocketAddr, config: Arc<ClientConfig>) -> Result<Self, WireError> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| WireError::Connect { address, source })?;
        stream
            .set_nodelay(true)
            .map_err(|source| WireError::Connect { address, source })?;
        let tls = TlsConnector::from(config)
            .connect(
                ServerName::try_from("localhost")
                    .map_err(|error| WireError::NoReply(error.to_string()))?,
                stream,
            )
            .await
            .map_err(|error| WireError::Handshake(error.to_string()))?;
        let server_serial = serial(tls.get_ref().1.peer_certificates().and_then(<[_]>::first));
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .map_err(|error| no_reply(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move { drop(connection.await) });
        Ok(Self {
            sender,
            server_serial,
            _driver: driver,
        })
    }

    /// Sends one request and reads the whole reply.
    ///
    /// # Errors
    ///
    /// When no reply comes.
    pub async fn send(&mut self, call: &Call) -> Result<Reply, WireError> {
        match timeout(PATIENCE, self.send_now(call)).await {
            Ok(reply) => reply,
            Err(_elapsed) => Err(WireError::Deadline(PATIENCE)),
        }
    }

    async fn send_now(&mut self, call: &Call) -> Result<Reply, WireError> {
        let uri = http::Uri::builder()
            .scheme("https")
            .authority(call.authority.as_str())
            .path_and_query(call.path.as_str())
            .build()
            .map_err(WireError::Request)?;
        let request = call
            .request(uri)
            .body(Full::new(call.body.clone()))
            .map_err(WireError::Request)?;
        self.sender
            .ready()
            .await
            .map_err(|error| no_reply(&error))?;
        reply(
            self.sender
                .send_request(request)
                .await
                .map_err(|error| no_reply(&error))?,
        )
        .await
    }
}

/// Connects, sends one request, and hangs up.
///
/// # Errors
///
/// When no reply comes.
pub async fn once(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    call: &Call,
) -> Result<Reply, WireError> {
    Connection::open(address, config).await?.send(call).await
}

/// Sends one request without TLS, on HTTP/1.1.
///
/// # Errors
///
/// When no reply comes.
pub async fn plain(address: SocketAddr, call: &Call) -> Result<Reply, WireError> {
    match timeout(PATIENCE, plain_now(address, call)).await {
        Ok(reply) => reply,
        Err(_elapsed) => Err(WireError::Deadline(PATIENCE)),
    }
}

async fn plain_now(address: SocketAddr, call: &Call) -> Result<Reply, WireError> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| WireError::Connect { address, source })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| no_reply(&error))?;
    let mut driver = JoinSet::new();
    driver.spawn(async move { drop(connection.await) });
    let uri: http::Uri = call
        .path
        .parse()
        .map_err(|error| WireError::Request(http::Error::from(error)))?;
    let request = call.request(uri).header("host", &call.authority);
    let request = request
        .body(Full::new(call.body.clone()))
        .map_err(WireError::Request)?;
    reply(
        sender
            .send_request(request)
            .await
            .map_err(|error| no_reply(&error))?,
    )
    .await
}

async fn reply(response: hyper::Response<hyper::body::Incoming>) -> Result<Reply, WireError> {
    let (parts, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| no_reply(&error))?
        .to_bytes();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    Ok(Reply {
        status: parts.status.as_u16(),
        headers,
        body,
    })
}

/// A refusal by TLS alert reads differently from a connection that ends.
fn no_reply(error: &hyper::Error) -> WireError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if text.contains("alert") {
        WireError::Handshake(text)
    } else {
        WireError::NoReply(text)
    }
}

fn serial(certificate: Option<&CertificateDer<'_>>) -> String {
    certificate
        .and_then(|der| Leaf::parse(der).ok())
        .map_or_else(String::new, |leaf| leaf.serial)
}

/// Longer than any answer takes on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
