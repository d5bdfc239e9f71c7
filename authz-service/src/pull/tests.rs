use std::collections::BTreeMap;
use std::time::Duration;

use artifact::{PlainHttp, Reference, RegistryConfig, Repository, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::{Digest, SignerSet};
use identity::private_key::PrivateKey;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::decide::Wanted;

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const NAME: &str = "a/b";

#[derive(Clone)]
enum Reply {
    Ok(&'static str, Vec<u8>),
    Status(u16),
    Hang,
}

/// Two registries of the same content, of which `hang.test` never answers.
struct World {
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
    closures: Arc<Closures>,
    puller: Puller,
    keys: [PrivateKey; 2],
    _tasks: JoinSet<()>,
}

impl World {
    async fn new() -> Self {
        let replies = Arc::new(Mutex::new(BTreeMap::new()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let mut configs = Vec::new();
        for host in ["a.test", "hang.test"] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            tasks.spawn(serve(
                host,
                listener,
                Arc::clone(&replies),
                Arc::clone(&asked),
            ));
            configs.push(RegistryConfig {
                host: host.to_owned(),
                endpoint: endpoint.parse().unwrap(),
                ca_pem: None,
                plain_http: PlainHttp::DangerAllow,
            });
        }
        let registries = Registries::new(configs).unwrap();
        let (voucher, vouching) = Voucher::new(registries.clone(), None);
        let closures = Arc::new(Closures::empty("/nowhere"));
        let (puller, pulling) = Puller::new(registries, voucher, Arc::clone(&closures));
        tasks.spawn(vouching.run(std::future::pending()));
        tasks.spawn(pulling.run());
        Self {
            replies,
            asked,
            closures,
            puller,
            keys: [(); 2].map(|()| PrivateKey::generate().unwrap()),
            _tasks: tasks,
        }
    }

    fn set(&self, path: &str, reply: Reply) {
        let path = format!("/v2/{NAME}/{path}");
        self.replies.lock().insert(path, reply);
    }

    fn manifest(&self, reference: Option<&str>, manifest: &Value) -> Digest {
        let bytes = serde_json::to_vec(manifest).unwrap();
        let digest = Digest::sha256_of(&bytes);
        for reference in [reference, Some(digest.as_str())].into_iter().flatten() {
            self.set(
                &format!("manifests/{reference}"),
                Reply::Ok(IMAGE, bytes.clone()),
            );
        }
        digest
    }

    /// An image of this one layer, under a tag, with a signature by one of the keys.
    fn signed(&self, tag: &str, layer: &Digest, key: &PrivateKey) -> Digest {
        let config = descriptor("application/vnd.oci.empty.v1+json", b"{}");
        let layer = json!({ "mediaType": "application/x", "digest": layer.as_str(), "size": 5 });
        let image = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer], "annotations": { "tag": tag } });
        let digest = self.manifest(Some(tag), &image);
        let payload = serde_json::to_vec(&json!({
            "critical": {
                "identity": { "docker-reference": format!("a.test/{NAME}") },
                "image": { "docker-manifest-digest": digest.as_str() },
                "type": "cosign container image signature",
            },
            "optional": null,
        }))
        .unwrap();
        let mut signature = descriptor(SIMPLE_SIGNING, &payload);
        signature["annotations"] = json!({ "dev.cosignproject.cosign/signature": STANDARD.encode(key.sign(&payload).unwrap()) });
        let signatures = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [signature] });
        self.manifest(Some(&format!("sha256-{}.sig", digest.hex())), &signatures);
        self.set(
            &format!("blobs/{}", Digest::sha256_of(&payload)),
            Reply::Ok("application/octet-stream", payload),
        );
        digest
    }

    fn tags(&self, tags: &[&str]) {
        let body = serde_json::to_vec(&json!({ "name": NAME, "tags": tags })).unwrap();
        self.set("tags/list", Reply::Ok("application/json", body));
    }

    fn pull(&self, host: &str, wanted: Wanted) -> Pull {
        let keys = self.keys.iter().map(|key| key.public_key().clone());
        Pull {
            key: artifact::ClosureKey {
                host: host.to_owned(),
                repository: Repository::parse(NAME).unwrap(),
                policy_hash: "p".to_owned(),
            },
            wanted,
            accept: vec![IMAGE.to_owned()],
            signers: Arc::new(SignerSet::new(keys)),
            deadline: Instant::now() + Duration::from_secs(5),
        }
    }

    fn begin(&self, host: &str, wanted: Wanted) -> oneshot::Receiver<Pulled> {
        let (reply, answer) = oneshot::channel();
        let pull = self.pull(host, wanted);
        self.puller.jobs.try_send(Job { pull, reply }).unwrap();
        answer
    }

    async fn find(&self, wanted: Wanted) -> Pulled {
        self.begin("a.test", wanted).await.unwrap()
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::sha256_of(bytes).as_str(), "size": bytes.len() })
}

fn tag(name: &str) -> Wanted {
    Wanted::Manifest(Reference::Tag(Tag::parse(name).unwrap()))
}

fn signers(fact: &Fact<TargetArtifact>) -> Vec<identity::SpkiHash> {
    let signatures = &fact.known().unwrap().vouched.signatures;
    signatures
        .iter()
        .map(|signature| signature.signer)
        .collect()
}

fn reason(pulled: &Pulled) -> Reason {
    match &pulled.artifact {
        Fact::Refused(denial) => denial.reason,
        Fact::Known(artifact) => panic!("{artifact:?}"),
    }
}

async fn serve(
    host: &'static str,
    listener: TcpListener,
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (replies, asked) = (Arc::clone(&replies), Arc::clone(&asked));
        connections.spawn(async move {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            let request = String::from_utf8(request).unwrap();
            let path = request.split([' ', '?']).nth(1).unwrap().to_owned();
            asked.lock().push(path.clone());
            let reply = replies.lock().get(&path).cloned();
            let (status, media_type, body) = match reply.unwrap_or(Reply::Status(404)) {
                _ if host == "hang.test" => return std::future::pending().await,
                Reply::Hang => return std::future::pending().await,
                Reply::Ok(media_type, body) => (200, media_type, body),
                Reply::Status(status) => (status, "text/plain", Vec::new()),
            };
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
        });
    }
}

#[tokio::test]
async fn blob_of_two_manifests_is_offered_as_each_signer_vouches_for_it() {
    let world = World::new().await;
    let layer = Digest::sha256_of(b"layer");
    let [first, second] = &world.keys;
    world.tags(&["one", "two"]);
    world.signed("one", &layer, first);
    world.signed("two", &layer, second);
    let pulled = world.find(Wanted::Blob(layer)).await;
    let mut offered: Vec<_> = pulled.artifacts().flat_map(signers).collect();
    let mut wanted = vec![first.public_key().hash(), second.public_key().hash()];
    offered.sort_by_key(ToString::to_string);
    wanted.sort_by_key(ToString::to_string);
    assert_eq!(offered, wanted);
}

#[tokio::test]
async fn holder_that_cannot_be_looked_at_hides_no_other() {
    let world = World::new().await;
    let layer = Digest::sha256_of(b"layer");
    let good = world.signed("good", &layer, &world.keys[0]);
    let gone = Digest::sha256_of(b"never answered");
    world.set(&format!("manifests/sha256-{}.sig", gone.hex()), Reply::Hang);
    let mut pull = world.pull("a.test", Wanted::Blob(layer.clone()));
    for root in [&good, &gone] {
        world.closures.remember(&pull.key, root, [layer.clone()]);
    }
    pull.deadline = Instant::now() + Duration::from_millis(500);
    let (reply, answer) = oneshot::channel();
    world.puller.jobs.try_send(Job { pull, reply }).unwrap();
    let pulled = answer.await.unwrap();
    let known: Vec<_> = pulled
        .artifacts()
        .filter(|fact| fact.known().is_some())
        .collect();
    assert_eq!((known.len(), pulled.artifacts().count()), (1, 2));
    assert_eq!(
        reason(&pulled),
        Reason::Deadline,
        "a denial says what is not known"
    );
}

#[tokio::test]
async fn tag_that_cannot_be_looked_at_hides_no_other() {
    let world = World::new().await;
    let layer = Digest::sha256_of(b"layer");
    world.tags(&["bad", "good", "worse"]);
    world.set("manifests/bad", Reply::Status(500));
    world.set("manifests/worse", Reply::Status(406));
    world.signed("good", &layer, &world.keys[0]);
    let pulled = world.find(Wanted::Blob(layer)).await;
    assert_eq!(pulled.artifacts().flat_map(signers).count(), 1);
    let stray = world.find(Wanted::Blob(Digest::sha256_of(b"stray"))).await;
    assert_eq!(reason(&stray), Reason::VerificationPending);
}

#[tokio::test]
async fn blob_of_no_signed_manifest_is_outside_once_every_tag_was_looked_at() {
    let world = World::new().await;
    world.tags(&["good"]);
    world.signed("good", &Digest::sha256_of(b"layer"), &world.keys[0]);
    let stray = world.find(Wanted::Blob(Digest::sha256_of(b"stray"))).await;
    assert_eq!(reason(&stray), Reason::BlobOutsideClosure);
}

#[tokio::test]
async fn slow_registry_holds_up_no_other() {
    let world = World::new().await;
    world.signed("v1", &Digest::sha256_of(b"layer"), &world.keys[0]);
    let mut held = Vec::new();
    for number in 0..200 {
        held.push(world.begin("hang.test", tag(&format!("t{number}"))));
        tokio::task::yield_now().await;
    }
    let pulled = world.find(tag("v1")).await;
    assert_eq!(pulled.artifacts().flat_map(signers).count(), 1);
    let shed = held.pop().unwrap().await.unwrap();
    assert_eq!(reason(&shed), Reason::Overloaded);
}

#[tokio::test]
async fn same_tag_is_resolved_once_for_all_who_ask() {
    let world = World::new().await;
    world.signed("v1", &Digest::sha256_of(b"layer"), &world.keys[0]);
    let answers: Vec<_> = (0..20).map(|_| world.begin("a.test", tag("v1"))).collect();
    for answer in answers {
        assert!(answer.await.unwrap().artifact.known().is_some());
    }
    let path = format!("/v2/{NAME}/manifests/v1");
    let asked = world.asked.lock();
    assert_eq!(asked.iter().filter(|asked| **asked == path).count(), 1);
}
