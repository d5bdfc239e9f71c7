//! One replica with everything around it: directories, policy, roots, registry, Workload API, agent and proxy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use authz_service::app::{self, App, Parts};
use authz_service::config::Config;
use daemon::{Lifecycle, Outcome, SystemClock};
use evidence::Digest;
use evidence::binding::FeedItem;
use identity::PrivateKey;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};
use tempfile::TempDir;

use super::agent::{self, Stream, binding};
use super::eventually;
use super::pki::{AGENT, FRONTEND, PULLER, Pki, Svid, signed};
use super::proxy::{Ask, Proxy, Said};
use super::registry::Registry;
use super::workload_api::WorkloadApi;

/// Everything that outlives a replica.
pub struct World {
    pub dir: TempDir,
    pub pki: Pki,
    pub registry: Registry,
    /// The key of the signature policy `release`.
    pub release: PrivateKey,
    pub agent: Svid,
    pub frontend: Svid,
    pub puller: Svid,
    /// What both workloads run.
    pub program: Digest,
    pub workload_api: Option<WorkloadApi>,
}

/// A running replica.
pub struct Replica {
    pub app: App,
    pub lifecycle: Lifecycle,
    pub spans: InMemorySpanExporter,
    _provider: SdkTracerProvider,
}

pub const POLICY: &str = r#"
apiVersion: countersign.dev/v1alpha1
kind: SignaturePolicy
metadata: { name: release }
spec:
  signers: [ { name: release-key, key: { file: keys/release.pub } } ]
---
apiVersion: countersign.dev/v1alpha1
kind: AccessPolicy
metadata: { name: access }
spec:
  rules:
    - name: web-charges
      from: { identities: [spiffe://acme.test/ns/web/sa/frontend], artifact: { signedBy: release } }
      to: { service: { hosts: [payments.acme.test], methods: [POST], paths: [/v1/charges] } }
    - name: pulls
      from: { identities: [spiffe://acme.test/ns/ops/sa/puller], artifact: { signedBy: release } }
      to:
        registry:
          hosts: [localhost]
          repositories: ["prod/**"]
          actions: [pull]
          artifact: { signedBy: release }
"#;

impl World {
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new();
        let release = PrivateKey::generate().unwrap();
        let keys = dir.path().join("policy/keys");
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(keys.join("release.pub"), public_pem(&release)).unwrap();
        std::fs::write(dir.path().join("policy/access.yaml"), POLICY).unwrap();
        std::fs::write(dir.path().join("root.pem"), pki.root_pem()).unwrap();
        let workload_api = WorkloadApi::start(dir.path(), &pki);
        Self {
            registry: Registry::start().await,
            agent: pki.svid(AGENT),
            frontend: pki.svid(FRONTEND),
            puller: pki.svid(PULLER),
            program: Digest::sha256_of(b"the program"),
            workload_api: Some(workload_api),
            dir,
            pki,
            release,
        }
    }

    /// No Workload API until `give_certificate`.
    pub async fn without_certificate() -> Self {
        let mut world = Self::new().await;
        world.workload_api = None;
        std::fs::remove_file(world.path("agent.sock")).unwrap();
        world
    }

    pub fn give_certificate(&mut self) {
        self.workload_api = Some(WorkloadApi::start(self.dir.path(), &self.pki));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write_policy(&self, text: &str) {
        std::fs::write(self.path("policy/access.yaml"), text).unwrap();
    }

    pub fn config(&self) -> Config {
        let (dir, registry) = (self.dir.path().display(), self.registry.address);
        let uid = nix::unistd::geteuid();
        let text = format!(
            r#"
trustDomain: acme.test
replica: authz-1
directories: {{ runtime: {dir}/run, state: {dir}/state }}
policy: {{ directory: {dir}/policy }}
trustBundles: [ {{ trustDomain: acme.test, file: {dir}/root.pem }} ]
workloadApi: unix://{dir}/agent.sock
agents: [ {{ identity: {AGENT}, mayVouchFor: ["spiffe://acme.test/ns/**"] }} ]
proxies: {{ identities: ["spiffe://acme.test/proxy/*"], uids: [{uid}] }}
listeners: {{ unix: {{ path: {dir}/run/authz.sock }}, tcp: {{ listen: "127.0.0.1:0" }} }}
feed: {{ listen: "127.0.0.1:0" }}
health: {{ listen: "127.0.0.1:0" }}
registries: [ {{ host: localhost, endpoint: "http://{registry}", dangerPlainHttp: true }} ]
records: {{ file: {dir}/records.jsonl }}
"#
        );
        Config::parse(Path::new("authz-service.yaml"), &text).unwrap()
    }

    /// Starts a replica; it may not be ready yet.
    pub async fn start(&self) -> Replica {
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(spans.clone())
            .build();
        let lifecycle = Lifecycle::new();
        let parts = Parts {
            config: self.config(),
            clock: SystemClock::shared(),
            tracer: provider.tracer("test"),
            lifecycle: lifecycle.clone(),
        };
        let app = app::start(parts).await.unwrap();
        Replica {
            app,
            lifecycle,
            spans,
            _provider: provider,
        }
    }

    /// Starts a replica that has heard its agent: both workloads run a program that is signed.
    pub async fn synced(&self) -> (Replica, Stream) {
        let replica = self.start().await;
        let mut stream = self.stream(&replica).await;
        stream.batch(self.state(), &self.agent.key).await.unwrap();
        stream.end_of_state().await;
        tokio::time::timeout(Duration::from_secs(10), replica.app.readiness.ready())
            .await
            .unwrap();
        (replica, stream)
    }

    /// A stream of the agent that has said hello.
    pub async fn stream(&self, replica: &Replica) -> Stream {
        replica.serves_the_feed().await;
        let mut stream = agent::connect(replica.app.addresses.feed, &self.pki, &self.agent)
            .await
            .unwrap();
        stream
            .hello(replica.app.snapshots.load().policy.hash(), &self.pki)
            .await;
        stream
    }

    /// What the agent has to say.
    pub fn state(&self) -> Vec<FeedItem> {
        vec![
            FeedItem::Binding(binding(&self.frontend, AGENT, &self.program)),
            FeedItem::Binding(binding(&self.puller, AGENT, &self.program)),
            FeedItem::Evidence {
                digest: self.program.clone(),
                evidence: vec![signed(&self.program, &self.release)],
            },
        ]
    }

    /// The lines of the record file.
    pub fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.path("records.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The record of one decision.
    pub fn record(&self, id: &str) -> serde_json::Value {
        let found: Vec<_> = self
            .records()
            .into_iter()
            .filter(|record| record["id"] == id)
            .collect();
        assert_eq!(found.len(), 1, "records of {id}");
        found.into_iter().next().unwrap()
    }
}

impl Replica {
    pub async fn proxy(&self) -> Proxy {
        Proxy::connect(self.app.addresses.check_unix.as_ref().unwrap()).await
    }

    pub async fn ask(&self, ask: &Ask) -> Said {
        self.proxy().await.ask(ask).await
    }

    /// Waits for the own certificate, before which nobody is accepted.
    pub async fn serves_the_feed(&self) {
        eventually("an own certificate", async || {
            !self
                .app
                .readiness
                .missing()
                .iter()
                .any(|part| &**part == "own certificate")
        })
        .await;
    }

    /// A page of the health server.
    pub async fn page(&self, path: &str) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.app.addresses.health)
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (
            head.split(' ').nth(1).unwrap().parse().unwrap(),
            body.to_owned(),
        )
    }

    /// Everything recorded so far is in the file.
    pub fn flush(&self) {
        self.app.recorder.flush();
    }

    /// Stops it as SIGTERM does.
    pub async fn stop(self) -> Outcome {
        self.lifecycle.stop();
        let outcome = self.lifecycle.drain(Duration::from_secs(10)).await;
        self.app.close().await;
        outcome
    }
}

fn public_pem(key: &PrivateKey) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(key.public_key().spki_der());
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}
