mod pki;

use std::{net::SocketAddr, time::Duration};

use futures_util::FutureExt as _;
use rustls::ClientConfig;
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::Instant,
};

use self::pki::{Ca, HOUR, PROXY, SERVER, now};
use super::*;
use crate::{Clock, Lifecycle, Outcome, clock::testing::HandClock, metrics::Registry};

/// A served listener and everything that a test turns.
struct Served {
    address: SocketAddr,
    incoming: Incoming,
    config: Arc<HotServerConfig>,
    clock: HandClock,
    lifecycle: Lifecycle,
    registry: Registry,
}

impl Served {
    async fn by(ca: &Ca) -> Self {
        Self::with(ca, TlsLimits::default()).await
    }

    async fn with(ca: &Ca, limits: TlsLimits) -> Self {
        let clock = HandClock::at(now());
        let config = Arc::new(HotServerConfig::new(server(ca), Arc::new(clock.clone())).unwrap());
        let lifecycle = Lifecycle::new();
        let registry = Registry::new();
        let bound = BoundTls::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = bound.local_addr();
        let metrics = TlsMetrics::new(&registry);
        let incoming = bound.serve("test", &lifecycle, Arc::clone(&config), limits, &metrics);
        Self {
            address,
            incoming,
            config,
            clock,
            lifecycle,
            registry,
        }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(self.clock.clone())
    }

    async fn connect(&self, ca: &Ca, material: &SvidMaterial) -> Result<PeerStream, TlsError> {
        let connector = TlsConnector::new(
            material,
            &ca.bundle(),
            SERVER.parse().unwrap(),
            self.clock(),
        )
        .unwrap();
        connector.connect(&self.address.to_string()).await
    }

    /// Both ends of a new connection of the proxy.
    async fn pair(&mut self, ca: &Ca, material: &SvidMaterial) -> (PeerStream, PeerStream) {
        let client = self.connect(ca, material).await.unwrap();
        let server = self.incoming.next().await.unwrap();
        (client, server)
    }

    /// Whether a client is let in. In TLS 1.3 a client learns that it was refused when it first reads.
    async fn lets_in(&mut self, ca: &Ca, material: &SvidMaterial) -> bool {
        let before = self.refused();
        let Ok(_client) = self.connect(ca, material).await else {
            return false;
        };
        loop {
            tokio::select! {
                Some(_server) = self.incoming.next() => return true,
                () = tokio::time::sleep(Duration::from_millis(5)) => if self.refused() > before { return false },
            }
        }
    }

    fn refused(&self) -> u64 {
        let text = self.registry.render();
        let sample = "countersign_tls_handshakes_total{listener=\"test\",outcome=\"refused\"} ";
        text.lines()
            .find_map(|line| line.strip_prefix(sample))
            .map_or(0, |count| count.parse().unwrap())
    }
}

fn server(ca: &Ca) -> ServerIdentity {
    ServerIdentity {
        material: ca.svid_for(SERVER, HOUR * 100),
        bundles: ca.bundles(),
        allowed: AllowedPeers::new(|id| id.as_str() == PROXY),
    }
}

async fn read_error(stream: &mut PeerStream) -> std::io::Error {
    let mut byte = [0; 1];
    stream.read_exact(&mut byte).await.unwrap_err()
}

async fn pass(from: &mut PeerStream, to: &mut PeerStream) {
    from.write_all(b"x").await.unwrap();
    from.flush().await.unwrap();
    let mut byte = [0; 1];
    to.read_exact(&mut byte).await.unwrap();
}

#[tokio::test]
async fn both_ends_learn_who_the_other_is() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let material = ca.svid(PROXY);
    let (mut client, mut stream) = served.pair(&ca, &material).await;
    assert_eq!(client.peer().spiffe_id().as_str(), SERVER);
    assert_eq!(stream.peer().spiffe_id().as_str(), PROXY);
    assert_eq!(stream.peer().leaf().serial, material.leaf().serial);
    pass(&mut client, &mut stream).await;
    pass(&mut stream, &mut client).await;
}

#[tokio::test]
async fn client_of_another_root_is_refused() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    assert!(!served.lets_in(&ca, &Ca::new().svid(PROXY)).await);
    assert!(served.lets_in(&ca, &ca.svid(PROXY)).await);
}

#[tokio::test]
async fn identity_that_is_not_allowed_is_refused() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    assert!(
        !served
            .lets_in(&ca, &ca.svid("spiffe://acme.test/proxy/other"))
            .await
    );
}

#[tokio::test]
async fn identity_of_an_unknown_trust_domain_is_refused() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    assert!(
        !served
            .lets_in(&ca, &ca.svid("spiffe://other.test/proxy/envoy"))
            .await
    );
}

#[tokio::test]
async fn expired_client_is_refused() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let material = ca.svid(PROXY);
    served.clock.advance(HOUR * 2);
    assert!(!served.lets_in(&ca, &material).await);
}

#[tokio::test]
async fn client_without_a_certificate_is_refused() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let mut stream = raw_client(&served, &ca, &[ALPN_H2]).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    assert!(served.refused() == 1 && served.incoming.next().now_or_never().is_none());
}

#[tokio::test]
async fn removed_client_root_is_refused_on_the_next_connection() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let clients = Ca::new();
    let both = ServerIdentity {
        bundles: clients.bundles(),
        ..server(&ca)
    };
    served.config.replace(both).unwrap();
    // One connector, so that it would resume if the server let it.
    let material = clients.svid(PROXY);
    let connector = TlsConnector::new(
        &material,
        &ca.bundle(),
        SERVER.parse().unwrap(),
        served.clock(),
    )
    .unwrap();
    let address = served.address.to_string();
    let mut client = connector.connect(&address).await.unwrap();
    let mut peer = served.incoming.next().await.unwrap();
    pass(&mut peer, &mut client).await;

    served.config.replace(server(&ca)).unwrap();
    let again = connector.connect(&address).await;
    let refused = match again {
        Ok(mut stream) => stream.read_u8().await.is_err(),
        Err(_) => true,
    };
    assert!(refused);
    assert!(served.incoming.next().now_or_never().is_none());
}

/// A client that keeps sessions and asks to resume them still meets the verifier.
#[tokio::test]
async fn session_is_never_resumed() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let config = Arc::new(resuming_client(&ca, &ca.svid(PROXY)));
    for _ in 0..3 {
        let stream = TcpStream::connect(served.address).await.unwrap();
        let name = "x.test".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::clone(&config));
        let mut client = connector.connect(name, stream).await.unwrap();
        let mut accepted = served.incoming.next().await.unwrap();
        accepted.write_all(b"x").await.unwrap();
        accepted.flush().await.unwrap();
        client.read_u8().await.unwrap();
        let kind = client.get_ref().1.handshake_kind().unwrap();
        assert_ne!(kind, rustls::HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn live_connection_ends_when_its_root_is_removed() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let material = ca.svid(PROXY);
    let (_client, mut stream) = served.pair(&ca, &material).await;
    let without = ServerIdentity {
        bundles: Ca::new().bundles(),
        ..server(&ca)
    };
    let (error, ()) = tokio::join!(read_error(&mut stream), async {
        served.config.replace(without).unwrap();
    });
    assert!(error.to_string().contains("no longer trusted"), "{error}");
    assert!(stream.write_all(b"x").await.is_err());
}

#[tokio::test]
async fn live_connection_survives_a_new_certificate_of_the_server() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let material = ca.svid(PROXY);
    let (mut client, mut stream) = served.pair(&ca, &material).await;
    served.config.replace(server(&ca)).unwrap();
    pass(&mut client, &mut stream).await;
    let (next, _) = served.pair(&ca, &material).await;
    assert_ne!(next.peer().leaf().spki, client.peer().leaf().spki);
}

#[tokio::test]
async fn live_connection_ends_with_its_peers_certificate() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    let material = ca.svid(PROXY);
    let (_client, mut stream) = served.pair(&ca, &material).await;
    tokio::time::pause();
    let (error, ()) = tokio::join!(read_error(&mut stream), async {
        served.clock.advance(HOUR + Duration::from_secs(1));
    });
    assert!(error.to_string().contains("has expired"), "{error}");
}

#[tokio::test]
async fn old_connection_retires_and_then_ends() {
    let ca = Ca::new();
    let limits = TlsLimits {
        max_age: Duration::from_mins(1),
        ..TlsLimits::default()
    };
    let mut served = Served::with(&ca, limits).await;
    let material = ca.svid(PROXY);
    let (_client, mut stream) = served.pair(&ca, &material).await;
    tokio::time::pause();
    let began = Instant::now();
    let retiring = stream.peer().retiring();
    let (error, retired) = tokio::join!(read_error(&mut stream), async {
        retiring.cancelled().await;
        began.elapsed()
    });
    assert!(error.to_string().contains("too old"), "{error}");
    assert!(retired < Duration::from_secs(52) && began.elapsed() > Duration::from_secs(59));
}

#[tokio::test]
async fn server_that_is_somebody_else_is_refused() {
    let ca = Ca::new();
    let served = Served::by(&ca).await;
    let other = "spiffe://acme.test/countersign/other".parse().unwrap();
    let connector =
        TlsConnector::new(&ca.svid(PROXY), &ca.bundle(), other, served.clock()).unwrap();
    let error = connector
        .connect(&served.address.to_string())
        .await
        .unwrap_err();
    let TlsError::Refused { source, .. } = &error else {
        panic!("{error}");
    };
    assert!(matches!(
        source.reason(),
        Some(PeerRefused::NotAllowed { .. })
    ));
    assert!(
        crate::chain(&error).contains("may not connect here"),
        "{}",
        crate::chain(&error)
    );
}

#[tokio::test]
async fn client_that_speaks_no_http2_is_refused() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    assert!(raw_client(&served, &ca, &[b"http/1.1"]).await.is_err());
    assert!(served.incoming.next().now_or_never().is_none());
}

#[tokio::test]
async fn handshake_that_stalls_does_not_hold_up_others_and_times_out() {
    let ca = Ca::new();
    let limits = TlsLimits {
        handshake_timeout: Duration::from_millis(200),
        ..TlsLimits::default()
    };
    let mut served = Served::with(&ca, limits).await;
    let mut stalled = TcpStream::connect(served.address).await.unwrap();
    assert!(served.lets_in(&ca, &ca.svid(PROXY)).await);
    assert_eq!(stalled.read(&mut [0; 1]).await.unwrap(), 0);
}

#[tokio::test]
async fn connection_beyond_the_bound_waits_for_a_place() {
    let ca = Ca::new();
    let limits = TlsLimits {
        connections: 1,
        ..TlsLimits::default()
    };
    let mut served = Served::with(&ca, limits).await;
    let material = ca.svid(PROXY);
    let (_client, first) = served.pair(&ca, &material).await;
    let (second, ()) = tokio::join!(served.connect(&ca, &material), async { drop(first) });
    assert!(second.is_ok());
}

#[tokio::test]
async fn stopped_listener_takes_no_connection_and_drains() {
    let ca = Ca::new();
    let mut served = Served::by(&ca).await;
    served.lifecycle.stop();
    assert!(served.incoming.next().await.is_none());
    assert_eq!(served.lifecycle.drain(HOUR).await, Outcome::Clean);
    let material = ca.svid(PROXY);
    assert!(matches!(
        served.connect(&ca, &material).await,
        Err(TlsError::Address { .. })
    ));
}

#[test]
fn each_refusal_has_its_own_reason() {
    let ca = Ca::new();
    let verifier = verifier::Verifier::new(
        ca.bundles(),
        AllowedPeers::new(|id| id.as_str() == PROXY),
        provider(),
    );
    let judged = |chain: &[CertificateDer<'static>]| verifier.check(&chain[0], &[], now());
    let of = |material: &SvidMaterial| judged(&material.certified().cert);
    assert!(of(&ca.svid(PROXY)).is_ok());
    assert!(matches!(
        judged(&ca.nameless().0),
        Err(PeerRefused::Leaf { .. })
    ));
    assert!(matches!(
        of(&ca.svid("spiffe://other.test/x")),
        Err(PeerRefused::TrustDomainUnknown { .. })
    ));
    assert!(matches!(
        of(&Ca::new().svid(PROXY)),
        Err(PeerRefused::Untrusted { .. })
    ));
    assert!(matches!(
        of(&ca.svid(SERVER)),
        Err(PeerRefused::NotAllowed { .. })
    ));
}

#[tokio::test]
async fn server_that_never_answers_is_given_up() {
    let ca = Ca::new();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let clock = Arc::new(HandClock::at(now()));
    let connector = TlsConnector::new(
        &ca.svid(PROXY),
        &ca.bundle(),
        SERVER.parse().unwrap(),
        clock,
    )
    .unwrap();
    tokio::time::pause();
    assert!(matches!(
        connector.connect(&address).await,
        Err(TlsError::Timeout { .. })
    ));
}

/// tonic serves over these connections and knows the peer of each request.
#[tokio::test]
async fn grpc_request_carries_its_peer() {
    let ca = Ca::new();
    let served = Served::by(&ca).await;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("", tonic_health::ServingStatus::Serving)
        .await;
    let health = tonic::service::interceptor::InterceptedService::new(
        health,
        |request: tonic::Request<()>| {
            let peer = request
                .extensions()
                .get::<Peer>()
                .map(|peer| peer.spiffe_id().as_str());
            if peer == Some(PROXY) {
                Ok(request)
            } else {
                Err(tonic::Status::permission_denied("no peer"))
            }
        },
    );
    let connector = TlsConnector::new(
        &ca.svid(PROXY),
        &ca.bundle(),
        SERVER.parse().unwrap(),
        served.clock(),
    )
    .unwrap();
    let address = served.address.to_string();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(
        tonic::transport::Server::builder()
            .add_service(health)
            .serve_with_incoming(served.incoming),
    );
    let channel = tonic::transport::Endpoint::from_static("http://authz-service")
        .connect_with_connector(tower::service_fn(move |_| {
            let (connector, address) = (connector.clone(), address.clone());
            async move {
                connector
                    .connect(&address)
                    .await
                    .map(hyper_util::rt::TokioIo::new)
            }
        }))
        .await
        .unwrap();
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest::default();
    assert!(client.check(request).await.is_ok());
}

#[test]
fn material_is_checked() {
    let ca = Ca::new();
    let (chain, key) = ca.mismatched();
    assert!(matches!(
        SvidMaterial::new(chain, &key),
        Err(TlsError::Key { .. })
    ));
    let (chain, key) = ca.nameless();
    assert!(matches!(
        SvidMaterial::new(chain, &key),
        Err(TlsError::Leaf { .. })
    ));
    assert!(matches!(
        SvidMaterial::new(Vec::new(), &key),
        Err(TlsError::ChainEmpty)
    ));
    let material = format!("{:?}", ca.svid(PROXY));
    assert!(
        material.contains(PROXY) && !material.contains("key"),
        "{material}"
    );
}

/// A client without a certificate.
async fn raw_client(
    served: &Served,
    ca: &Ca,
    protocols: &[&[u8]],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut config = trusting(ca, served.clock()).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(served.address).await?;
    let name = "x.test".try_into().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn resuming_client(ca: &Ca, material: &SvidMaterial) -> ClientConfig {
    let resolver = Arc::new(rustls::sign::SingleCertAndKey::from(material.certified()));
    let mut config =
        trusting(ca, Arc::new(HandClock::at(now()))).with_client_cert_resolver(resolver);
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config
}

fn trusting(
    ca: &Ca,
    clock: Arc<dyn Clock>,
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let verifier = verifier::Verifier::new(ca.bundles(), AllowedPeers::new(|_| true), provider());
    ClientConfig::builder_with_details(provider(), Arc::new(crate::clock::TlsClock(clock)))
        .with_protocol_versions(rustls::DEFAULT_VERSIONS)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
}
