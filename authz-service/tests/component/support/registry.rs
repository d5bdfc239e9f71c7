//! An OCI registry in memory that answers exactly what a test tells it to.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use evidence::Digest;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use identity::PrivateKey;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// What one path is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    pub delay: Duration,
}

/// A running registry. Stops when dropped.
pub struct Registry {
    pub address: SocketAddr,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

/// An image that was pushed.
#[derive(Clone, Debug)]
pub struct Image {
    pub digest: Digest,
    pub config: Digest,
    pub layer: Digest,
}

impl Answer {
    pub fn ok(content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status: 200,
            content_type,
            body,
            delay: Duration::ZERO,
        }
    }

    pub fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::ok("text/plain", b"no".to_vec())
        }
    }

    pub fn late(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }
}

impl Registry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<Mutex<BTreeMap<String, Answer>>> = Arc::default();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&answers), Arc::clone(&asked)));
        Self {
            address,
            answers,
            asked,
            _serving: serving,
        }
    }

    /// How often a manifest was asked for.
    pub fn asked(&self, repository: &str, reference: &str) -> usize {
        let path = manifest_path(repository, reference);
        self.asked
            .lock()
            .iter()
            .filter(|asked| **asked == path)
            .count()
    }

    /// Pushes an image under a tag. `content` tells images apart.
    pub fn image(&self, repository: &str, tag: &str, content: &str) -> Image {
        let config = Digest::sha256_of(format!("config {content}").as_bytes());
        let layer = Digest::sha256_of(format!("layer {content}").as_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE,
            "config": { "mediaType": CONFIG, "digest": config, "size": 1 },
            "layers": [{ "mediaType": LAYER, "digest": layer, "size": 1 }],
        });
        let digest = self.manifest(repository, tag, IMAGE, &manifest);
        Image {
            digest,
            config,
            layer,
        }
    }

    /// Pushes an index over images under a tag.
    pub fn index(&self, repository: &str, tag: &str, children: &[&Image]) -> Digest {
        let size = |child: &Image| {
            self.answers.lock()[&manifest_path(repository, child.digest.as_str())]
                .body
                .len()
        };
        let children: Vec<_> = children
            .iter()
            .map(|child| json!({ "mediaType": IMAGE, "digest": child.digest, "size": size(child) }))
            .collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
        self.manifest(repository, tag, INDEX, &index)
    }

    /// Signs a digest as cosign's legacy format does.
    pub fn sign(&self, repository: &str, digest: &Digest, key: &PrivateKey) {
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": format!("localhost/{repository}") },
                "image": { "docker-manifest-digest": digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        let layer = Digest::sha256_of(payload.as_bytes());
        let signature = STANDARD.encode(key.sign(payload.as_bytes()).unwrap());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": IMAGE,
            "config": { "mediaType": CONFIG, "digest": Digest::sha256_of(b"{}"), "size": 2 },
            "layers": [{
                "mediaType": SIMPLE_SIGNING, "digest": layer, "size": payload.len(),
                "annotations": { "dev.cosignproject.cosign/signature": signature },
            }],
        });
        let tag = format!("sha256-{}.sig", digest.hex());
        self.manifest(repository, &tag, IMAGE, &manifest);
        let blob = format!("/v2/{repository}/blobs/{layer}");
        self.put(
            &blob,
            Answer::ok("application/octet-stream", payload.into_bytes()),
        );
    }

    /// Moves a tag to the manifest that has this digest.
    pub fn move_tag(&self, repository: &str, tag: &str, digest: &Digest) {
        let answer = self.answers.lock()[&manifest_path(repository, digest.as_str())].clone();
        self.put(&manifest_path(repository, tag), answer);
    }

    /// Answers a path with this from now on.
    pub fn put(&self, path: &str, answer: Answer) {
        self.answers.lock().insert(path.to_owned(), answer);
    }

    /// Answers a manifest with this from now on.
    pub fn put_manifest(&self, repository: &str, reference: &str, answer: Answer) {
        self.put(&manifest_path(repository, reference), answer);
    }

    fn manifest(
        &self,
        repository: &str,
        tag: &str,
        media_type: &'static str,
        json: &serde_json::Value,
    ) -> Digest {
        let bytes = json.to_string().into_bytes();
        let digest = Digest::sha256_of(&bytes);
        for reference in [tag, digest.as_str()] {
            self.put_manifest(repository, reference, Answer::ok(media_type, bytes.clone()));
        }
        self.list(repository);
        digest
    }

    fn list(&self, repository: &str) {
        let prefix = manifest_path(repository, "");
        let tags: Vec<String> = {
            let answers = self.answers.lock();
            let names = answers.keys().filter_map(|path| path.strip_prefix(&prefix));
            names
                .filter(|name| !name.contains(':'))
                .map(str::to_owned)
                .collect()
        };
        let list = json!({ "name": repository, "tags": tags })
            .to_string()
            .into_bytes();
        self.put(
            &format!("/v2/{repository}/tags/list"),
            Answer::ok("application/json", list),
        );
    }
}

pub fn manifest_path(repository: &str, reference: &str) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}

async fn serve(
    listener: TcpListener,
    answers: Arc<Mutex<BTreeMap<String, Answer>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answers, asked) = (Arc::clone(&answers), Arc::clone(&asked));
        let service = service_fn(move |request: Request<Incoming>| {
            asked.lock().push(request.uri().path().to_owned());
            let answer = answers
                .lock()
                .get(request.uri().path())
                .cloned()
                .unwrap_or_else(|| Answer::status(404));
            async move {
                tokio::time::sleep(answer.delay).await;
                let response = Response::builder()
                    .status(answer.status)
                    .header("content-type", answer.content_type);
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(answer.body))).unwrap())
            }
        });
        connections.spawn(async move {
            // A client that breaks off is no news.
            drop(
                http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}
