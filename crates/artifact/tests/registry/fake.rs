//! A registry that serves what it is given, and misbehaves where it is told to.

use std::{
    collections::BTreeMap, convert::Infallible, fs, net::SocketAddr, path::PathBuf, sync::Arc,
};

use bytes::Bytes;
use countersign_artifact::{PlainHttp, Registries, RegistryConfig, Repository};
use evidence::Digest;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use url::Url;

pub(crate) const HOST: &str = "localhost";
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
pub(crate) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
pub(crate) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// What a path is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: Bytes,
    },
    /// Headers, then zeros until the client has enough.
    Endless,
    /// Never.
    Hang,
    /// The reply beneath, but only once the test opens the gate.
    Gated(Arc<Semaphore>, Box<Reply>),
}

impl Reply {
    pub(crate) fn ok(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self::Answer {
            status: 200,
            headers,
            body: body.into(),
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self::Answer {
            status,
            headers: Vec::new(),
            body: Bytes::from_static(b"{\"errors\":[]}"),
        }
    }

    pub(crate) fn redirect(location: &str) -> Self {
        let headers = vec![
            ("location", location.to_owned()),
            ("content-type", "text/html".to_owned()),
        ];
        Self::Answer {
            status: 303,
            headers,
            body: Bytes::from_static(b"<html></html>"),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }
}

#[derive(Debug, Default)]
struct State {
    /// By path with query first, then by path alone.
    replies: BTreeMap<String, Reply>,
    requests: Vec<(String, Vec<String>)>,
}

/// The server; it stops when it is dropped.
#[derive(Debug)]
pub(crate) struct FakeRegistry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _server: JoinSet<()>,
}

impl FakeRegistry {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            _server: server,
        }
    }

    /// A server of one recorded repository, with or without the referrers API.
    pub(crate) async fn recorded(repository: &str) -> Self {
        let registry = Self::start().await;
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/data/registry")
            .join(repository);
        for (digest, bytes) in files(&directory.join("manifests")) {
            registry.put_manifest(repository, &digest, &bytes);
        }
        for (digest, bytes) in files(&directory.join("blobs")) {
            registry.set(
                &format!("/v2/{repository}/blobs/{digest}"),
                Reply::ok("application/octet-stream", bytes),
            );
        }
        for (digest, bytes) in files(&directory.join("referrers")) {
            registry.set(
                &format!("/v2/{repository}/referrers/{digest}"),
                Reply::ok(INDEX, bytes),
            );
        }
        let tags: BTreeMap<String, String> =
            serde_json::from_slice(&fs::read(directory.join("tags.json")).unwrap()).unwrap();
        for (tag, digest) in tags {
            registry.put_tag(repository, &tag, &digest);
        }
        registry
    }

    pub(crate) fn set(&self, path: &str, reply: Reply) {
        self.state.lock().replies.insert(path.to_owned(), reply);
    }

    /// Holds back the answer for a path until a permit is added to what is returned.
    pub(crate) fn gate(&self, path: &str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        let beneath = self.state.lock().replies.get(path).cloned();
        let beneath = Box::new(beneath.unwrap_or_else(|| Reply::status(404)));
        self.set(path, Reply::Gated(Arc::clone(&gate), beneath));
        gate
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().replies.remove(path);
    }

    fn put_manifest(&self, repository: &str, reference: &str, bytes: &[u8]) {
        let manifest: Value = serde_json::from_slice(bytes).unwrap();
        let content_type = if manifest["mediaType"] == INDEX {
            INDEX
        } else {
            IMAGE
        };
        let digest = Digest::sha256_of(bytes);
        let reply =
            Reply::ok(content_type, bytes.to_vec()).with("docker-content-digest", digest.as_str());
        self.set(&format!("/v2/{repository}/manifests/{reference}"), reply);
    }

    fn put_tag(&self, repository: &str, tag: &str, digest: &str) {
        let reply =
            self.state.lock().replies[&format!("/v2/{repository}/manifests/{digest}")].clone();
        self.set(&format!("/v2/{repository}/manifests/{tag}"), reply);
    }

    /// Serves a manifest by its digest.
    pub(crate) fn manifest(&self, repository: &str, manifest: &Value) -> Digest {
        let bytes = serde_json::to_vec(manifest).unwrap();
        let digest = Digest::sha256_of(&bytes);
        self.put_manifest(repository, digest.as_str(), &bytes);
        digest
    }

    /// Serves a manifest by a tag and by its digest.
    pub(crate) fn tagged(&self, repository: &str, tag: &str, manifest: &Value) -> Digest {
        let digest = self.manifest(repository, manifest);
        self.put_tag(repository, tag, digest.as_str());
        digest
    }

    /// Serves a blob by its digest.
    pub(crate) fn blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256_of(bytes);
        let reply = Reply::ok("application/octet-stream", bytes.to_vec());
        self.set(&format!("/v2/{repository}/blobs/{digest}"), reply);
        digest
    }

    /// The paths that were asked for, with each request's Accept headers.
    pub(crate) fn requests(&self) -> Vec<(String, Vec<String>)> {
        self.state.lock().requests.clone()
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        self.requests()
            .iter()
            .filter(|(path, _)| path.contains(part))
            .count()
    }

    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).unwrap()
    }

    /// A client that knows this registry as `localhost`.
    pub(crate) fn registries(&self) -> Registries {
        let config = RegistryConfig {
            host: HOST.to_owned(),
            endpoint: self.url(),
            ca_pem: None,
            plain_http: PlainHttp::DangerAllow,
        };
        Registries::new([config]).unwrap()
    }
}

pub(crate) fn repository(name: &str) -> Repository {
    Repository::parse(name).unwrap()
}

pub(crate) fn descriptor(media_type: &str, digest: &Digest, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest.as_str(), "size": size })
}

/// An image manifest over these layers.
pub(crate) fn image(layers: &[Value]) -> Value {
    let config = descriptor(
        "application/vnd.oci.empty.v1+json",
        &Digest::sha256_of(b"{}"),
        2,
    );
    json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers })
}

/// An index over these manifests.
pub(crate) fn index(children: &[&Digest]) -> Value {
    let manifests: Vec<_> = children
        .iter()
        .map(|digest| descriptor(IMAGE, digest, 100))
        .collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
}

fn files(directory: &PathBuf) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let named = |path: PathBuf| {
        let name = path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .replacen('-', ":", 1);
        (name, fs::read(path).unwrap())
    };
    paths.map(named).collect()
}

async fn serve(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let _closed = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    state: Arc<Mutex<State>>,
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let asked = request.uri().path_and_query().unwrap().as_str().to_owned();
    let accept = request
        .headers()
        .get_all("accept")
        .iter()
        .map(|value| value.to_str().unwrap().to_owned());
    let reply = {
        let mut state = state.lock();
        state.requests.push((asked.clone(), accept.collect()));
        state
            .replies
            .get(&asked)
            .or_else(|| state.replies.get(&path))
            .cloned()
    };
    let mut reply = reply.unwrap_or_else(|| Reply::status(404));
    while let Reply::Gated(gate, beneath) = reply {
        gate.acquire().await.unwrap().forget();
        reply = *beneath;
    }
    match reply {
        Reply::Hang | Reply::Gated(..) => std::future::pending().await,
        Reply::Endless => {
            let zeros = stream::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[0; 8192]))));
            Ok(Response::new(StreamBody::new(zeros).boxed()))
        }
        Reply::Answer {
            status,
            headers,
            body,
        } => {
            let mut response = Response::new(Full::new(body).boxed());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            Ok(response)
        }
    }
}
