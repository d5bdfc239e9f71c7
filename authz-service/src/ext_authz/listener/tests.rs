use std::path::Path;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use daemon::metrics::Registry;
use daemon::tls::{
    AllowedPeers, BoundTls, HotServerConfig, ServerIdentity, TlsConnector, TlsLimits, TlsMetrics,
};
use envoy_types::pb::envoy::service::auth::v3::CheckResponse;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming as Body;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_health::server::health_reporter;

use super::*;
use crate::ext_authz::fake_judge::{FakeJudge, Mood, Noon};
use crate::ext_authz::judge::Judge;
use crate::testing::{Authority, Shape};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const AUTHZ: &str = "spiffe://acme.test/countersign/authz-service";
const ENVOY: &str = "spiffe://acme.test/proxy/envoy";

fn listeners(judge: Arc<dyn Judge>) -> (Listeners, Lifecycle) {
    let service = Arc::new(CheckService::new(judge, Arc::new(Noon), 8));
    let lifecycle = Lifecycle::new();
    let (reporter, _server) = health_reporter();
    (
        Listeners::new(service, reporter, lifecycle.clone()),
        lifecycle,
    )
}

/// A client's end of one connection.
struct Client {
    requests: SendRequest<Full<Bytes>>,
    connections: JoinSet<()>,
}

impl Client {
    async fn new(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let mut connections = JoinSet::new();
        connections.spawn(async move { drop(connection.await) });
        Self {
            requests,
            connections,
        }
    }

    async fn unix(socket: &Path) -> Self {
        Self::new(UnixStream::connect(socket).await.unwrap()).await
    }

    async fn send(&mut self, path: &str, body: Vec<u8>) -> Response<Body> {
        self.requests.ready().await.unwrap();
        let request = Request::post(format!("http://authz.test{path}"))
            .body(Full::new(body.into()))
            .unwrap();
        self.requests.send_request(request).await.unwrap()
    }

    /// The reason of the denial that an empty Check is answered with.
    async fn check(&mut self) -> String {
        reason(self.send(CHECK, Vec::new()).await).await
    }
}

/// The reason of a denial.
async fn reason(answer: Response<Body>) -> String {
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let response = CheckResponse::decode(body.slice(5..)).unwrap();
    let Some(HttpResponse::DeniedResponse(denied)) = response.http_response else {
        panic!("no denial")
    };
    let problem: serde_json::Value = serde_json::from_str(&denied.body).unwrap();
    problem["reason"].as_str().unwrap().to_owned()
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

#[tokio::test]
async fn local_proxy_is_known_by_its_uid() {
    for (trusted, reason) in [
        (own_uid(), "no-rule-matched"),
        (own_uid() + 1, "proxy-untrusted"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("authz.sock");
        let (listeners, _lifecycle) = listeners(FakeJudge::new(Mood::Denies));
        listeners.serve_unix(
            UnixListener::bind(&socket).unwrap(),
            BTreeSet::from([trusted]),
        );
        assert_eq!(Client::unix(&socket).await.check().await, reason);
    }
}

#[tokio::test]
async fn remote_proxy_is_known_by_its_identity() {
    let root = Authority::root("root");
    let svid = |id: &str| {
        root.leaf(&Shape {
            uris: &[id],
            ..Shape::default()
        })
    };
    let server = ServerIdentity {
        material: svid(AUTHZ).material(),
        bundles: [root.bundle("acme.test")].into_iter().collect(),
        allowed: AllowedPeers::new(|_| true),
    };
    let config = Arc::new(HotServerConfig::new(server, Arc::new(Noon)).unwrap());
    let bound = BoundTls::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap();
    let address = bound.local_addr().to_string();
    let (listeners, lifecycle) = listeners(FakeJudge::new(Mood::Denies));
    let metrics = TlsMetrics::new(&Registry::new());
    let incoming = bound.serve(
        "check-tls",
        &lifecycle,
        config,
        TlsLimits::default(),
        &metrics,
    );
    listeners.serve_tls(
        incoming,
        vec![IdentityPattern::parse("spiffe://acme.test/proxy/*").unwrap()],
    );
    for (id, reason) in [
        (ENVOY, "no-rule-matched"),
        ("spiffe://acme.test/ns/web/sa/frontend", "proxy-untrusted"),
    ] {
        let expected = SpiffeId::parse(AUTHZ).unwrap();
        let connector = TlsConnector::new(
            &svid(id).material(),
            &root.bundle("acme.test"),
            expected,
            Arc::new(Noon),
        )
        .unwrap();
        let stream = connector.connect(&address).await.unwrap();
        assert_eq!(Client::new(stream).await.check().await, reason, "{id}");
    }
}

#[tokio::test]
async fn untrusted_proxy_hears_its_denial_without_sending_a_body() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("authz.sock");
    let (listeners, _lifecycle) = listeners(FakeJudge::new(Mood::Denies));
    listeners.serve_unix(
        UnixListener::bind(&socket).unwrap(),
        BTreeSet::from([own_uid() + 1]),
    );
    let stream = UnixStream::connect(&socket).await.unwrap();
    let (mut requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let mut connections = JoinSet::new();
    connections.spawn(async move { drop(connection.await) });
    let never = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<hyper::body::Frame<Bytes>, std::convert::Infallible>,
    >());
    let request = Request::post(format!("http://authz.test{CHECK}"))
        .body(never)
        .unwrap();
    let answer = requests.send_request(request).await.unwrap();
    assert_eq!(reason(answer).await, "proxy-untrusted");
}

#[tokio::test]
async fn untrusted_proxy_holds_a_few_connections() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("authz.sock");
    let (listeners, _lifecycle) = listeners(FakeJudge::new(Mood::Denies));
    listeners.serve_unix(
        UnixListener::bind(&socket).unwrap(),
        BTreeSet::from([own_uid() + 1]),
    );
    let mut held = Vec::new();
    for _ in 0..strangers::MAX_CONNECTIONS {
        let mut client = Client::unix(&socket).await;
        assert_eq!(client.check().await, "proxy-untrusted");
        held.push(client);
    }
    let mut turned_away = UnixStream::connect(&socket).await.unwrap();
    let read = tokio::io::AsyncReadExt::read(&mut turned_away, &mut [0]).await;
    assert_eq!(read.unwrap(), 0, "the connection is closed");
}

#[tokio::test]
async fn health_is_served_beside_checks_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("authz.sock");
    let (listeners, _lifecycle) = listeners(FakeJudge::new(Mood::Denies));
    listeners.serve_unix(
        UnixListener::bind(&socket).unwrap(),
        BTreeSet::from([own_uid()]),
    );
    let mut client = Client::unix(&socket).await;
    let question = HealthCheckRequest::default().encode_to_vec();
    let frame = [
        &[0, 0, 0, 0][..],
        &[u8::try_from(question.len()).unwrap()],
        &question,
    ]
    .concat();
    let mut request = Request::post("http://authz.test/grpc.health.v1.Health/Check")
        .body(Full::new(frame.into()))
        .unwrap();
    request
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    let answer = client
        .requests
        .send_request(request)
        .await
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap();
    assert_eq!(
        HealthCheckResponse::decode(answer.to_bytes().slice(5..))
            .unwrap()
            .status,
        1
    );
    for path in [
        "/",
        "/envoy.service.auth.v3.Authorization/Other",
        "/envoy.service.auth.v2.Authorization/Check",
    ] {
        let response = client.send(path, Vec::new()).await;
        assert_eq!(response.headers()["grpc-status"], "12", "{path}");
    }
}

#[tokio::test]
async fn stop_finishes_what_is_under_way_and_takes_nothing_new() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("authz.sock");
    let judge = FakeJudge::new(Mood::Sleeps);
    let (listeners, lifecycle) = listeners(Arc::<FakeJudge>::clone(&judge));
    listeners.serve_unix(
        UnixListener::bind(&socket).unwrap(),
        BTreeSet::from([own_uid()]),
    );
    let mut client = Client::unix(&socket).await;
    let stop_once_asked = async {
        while judge.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        lifecycle.stop();
    };
    let (reason, ()) = tokio::join!(client.check(), stop_once_asked);
    assert_eq!(reason, "deadline");
    assert_eq!(
        lifecycle.drain(Duration::from_secs(5)).await,
        daemon::Outcome::Clean
    );
    assert!(
        client.requests.ready().await.is_err(),
        "the connection is closed"
    );
    assert!(
        UnixStream::connect(&socket).await.is_err(),
        "nobody listens"
    );
    client.connections.shutdown().await;
}

/// The size of what a connection holds per request: a regression here is memory under load.
#[test]
fn future_of_a_check_stays_small() {
    let service = CheckService::new(FakeJudge::new(Mood::Denies), Arc::new(Noon), 1);
    let connection = Connection {
        proxy: Proxy::Local { uid: 0 },
        standing: Standing::Trusted,
    };
    let future = service.serve(Request::new(Full::new(Bytes::new())), &connection);
    assert!(size_of_val(&future) < 4096, "{}", size_of_val(&future));
}
