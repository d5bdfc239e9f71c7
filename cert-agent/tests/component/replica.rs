//! The feed to a replica that a test plays: hello, state, end marker, deltas, and what a handover waits for.
#![expect(
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cert_agent::{
    config::Replica,
    feed::{OwnIdentity, ReplicaFeed, Sources},
    issuer::{Issuer as _, SigningRequest},
    rotation::Holding,
};
use countersign_proto::feed::{
    Hello, PushRequest, PushResponse, SignedBatch,
    feed_server::{Feed as FeedService, FeedServer},
    push_request::Message,
};
use daemon::{
    metrics::Registry,
    tls::{
        AllowedPeers, BoundTls, HotServerConfig, ServerIdentity, SvidMaterial, TlsLimits,
        TlsMetrics,
    },
};
use evidence::binding::{Batch, Binding, FeedItem, Handout};
use futures_util::Stream;
use identity::{
    PrivateKey, SpiffeId, TrustBundle, TrustBundles,
    x509_svid::{Leaf, verify_authority, verify_chain},
};
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::agent::{Agent, domain, node, workload};

/// What the replica heard, in order.
#[derive(Debug)]
enum Heard {
    Hello(Hello),
    Batch(Batch),
    End,
}

/// A replica that hears, and answers as long as it is told to.
struct FakeReplica {
    heard: mpsc::Receiver<Heard>,
    answers: Arc<AtomicBool>,
    address: String,
    _server: JoinSet<()>,
}

#[derive(Clone)]
struct Ear {
    heard: mpsc::Sender<Heard>,
    answers: Arc<AtomicBool>,
    bundle: TrustBundle,
}

#[tonic::async_trait]
impl FeedService for Ear {
    type PushStream = std::pin::Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

    async fn push(
        &self,
        request: Request<Streaming<PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let (answer, answers) = mpsc::channel(16);
        let (ear, mut requests) = (self.clone(), request.into_inner());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok(Some(PushRequest { message })) = requests.message().await {
                let heard = ear.hear(message.unwrap());
                if let Heard::Batch(batch) = &heard
                    && ear.answers.load(Ordering::SeqCst)
                {
                    let response = PushResponse {
                        sequence: batch.sequence,
                        generation: 1,
                        policy_hash: String::new(),
                    };
                    answer.send(Ok(response)).await.unwrap();
                }
                ear.heard.send(heard).await.unwrap();
            }
        });
        tasks.detach_all();
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

impl Ear {
    /// Checks as a replica does: the intermediates against the root, the batch against the key of the chain beside it.
    fn hear(&self, message: Message) -> Heard {
        let now = daemon::Clock::now(&daemon::SystemClock);
        match message {
            Message::Hello(hello) => {
                for intermediate in &hello.intermediates {
                    verify_authority(intermediate, &self.bundle, now).unwrap();
                }
                Heard::Hello(hello)
            }
            Message::Batch(SignedBatch { envelope, chain }) => {
                let chain: Vec<_> = chain.into_iter().map(CertificateDer::from).collect();
                verify_chain(&chain[0], &chain[1..], &self.bundle, now).unwrap();
                let leaf = Leaf::parse(&chain[0]).unwrap();
                assert_eq!(leaf.spiffe_id, node());
                Heard::Batch(Batch::open(&envelope, &leaf.public_key).unwrap())
            }
            Message::EndOfState(_) => Heard::End,
        }
    }
}

impl FakeReplica {
    async fn serve(agent: &Agent) -> Self {
        let key = PrivateKey::generate().unwrap();
        let request =
            SigningRequest::new(replica_id(), Vec::new(), Duration::from_hours(1), &key).unwrap();
        let chain = agent.issuer.issue(&request).await.unwrap();
        let bundle = agent.issuer.authorities().borrow().bundle.clone();
        let bundles: TrustBundles = std::iter::once(bundle.clone()).collect();
        let allowed = AllowedPeers::new(|id| *id == node());
        let identity = ServerIdentity {
            material: SvidMaterial::from_key(chain, &key).unwrap(),
            bundles,
            allowed,
        };
        let config = HotServerConfig::new(identity, daemon::SystemClock::shared()).unwrap();
        let bound = BoundTls::bind("127.0.0.1:0".parse().unwrap())
            .await
            .unwrap();
        let address = bound.local_addr().to_string();
        let incoming = bound.serve(
            "replica",
            &agent.lifecycle,
            Arc::new(config),
            TlsLimits::default(),
            &TlsMetrics::new(&Registry::new()),
        );
        let (sender, heard) = mpsc::channel(64);
        let answers = Arc::new(AtomicBool::new(true));
        let ear = Ear {
            heard: sender,
            answers: Arc::clone(&answers),
            bundle,
        };
        let mut server = JoinSet::new();
        server.spawn(async move {
            Server::builder()
                .add_service(FeedServer::new(ear))
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self {
            heard,
            answers,
            address,
            _server: server,
        }
    }

    async fn next(&mut self) -> Heard {
        timeout(Duration::from_secs(20), self.heard.recv())
            .await
            .expect("something is said")
            .expect("the replica hears")
    }

    async fn hello(&mut self) -> Hello {
        match self.next().await {
            Heard::Hello(hello) => hello,
            other => panic!("a hello comes first: {other:?}"),
        }
    }

    async fn batch(&mut self) -> Batch {
        match self.next().await {
            Heard::Batch(batch) => batch,
            other => panic!("a batch: {other:?}"),
        }
    }

    async fn end(&mut self) {
        assert!(matches!(self.next().await, Heard::End));
    }
}

fn replica_id() -> SpiffeId {
    SpiffeId::parse("spiffe://acme.test/countersign/authz-service").unwrap()
}

/// Starts the feed of an agent to a replica, who is expected to be `identity`.
async fn feed(agent: &Agent, address: &str, identity: SpiffeId) {
    let issuer = Arc::clone(&agent.issuer);
    let own = OwnIdentity::new(node(), issuer, agent.feed.clone(), Arc::clone(&agent.clock))
        .await
        .unwrap();
    let sources = Sources {
        node: node(),
        feed: agent.feed.clone(),
        own: own.svid(),
        authorities: agent.issuer.authorities(),
        grants: agent.grants.subscribe(),
        clock: Arc::clone(&agent.clock),
        roster_epoch: 7,
        metrics: agent.metrics.clone(),
    };
    agent
        .lifecycle
        .spawn("own", own.run(agent.lifecycle.token()));
    let replica = Replica {
        address: address.to_owned(),
        identity,
    };
    agent.lifecycle.spawn(
        "feed",
        ReplicaFeed::new(replica, sources).run(agent.lifecycle.token()),
    );
}

async fn synced(agent: &Agent) {
    let wait = async {
        while agent.metrics.replicas_synced.value() == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), wait)
        .await
        .expect("the replica is synced");
}

fn bindings(batch: &Batch) -> Vec<&Binding> {
    batch
        .items
        .iter()
        .filter_map(|item| {
            if let FeedItem::Binding(binding) = item {
                Some(binding)
            } else {
                None
            }
        })
        .collect()
}

fn serial(holding: &watch::Receiver<Holding>) -> String {
    match &*holding.borrow() {
        Holding::Svids(svids) => svids[0].leaf().serial.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn replica_hears_the_state_then_every_change() {
    let agent = Agent::new();
    agent.sign("payments");
    let holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    let mut replica = FakeReplica::serve(&agent).await;
    feed(&agent, &replica.address, replica_id()).await;

    let hello = replica.hello().await;
    assert_eq!(hello.policy_hash, agent.grants.borrow().policy_hash());
    assert_eq!(hello.intermediates.len(), 1);
    let state = replica.batch().await;
    assert_eq!((state.node.clone(), state.sequence), (node(), 1));
    assert!(
        matches!(
            state.items.as_slice(),
            [FeedItem::Evidence { .. }, FeedItem::Binding(_)]
        ),
        "{state:?}"
    );
    let [binding] = bindings(&state)[..] else {
        panic!("one binding")
    };
    let Holding::Svids(svids) = holding.borrow().clone() else {
        panic!("SVIDs")
    };
    assert_eq!(binding.spki, svids[0].leaf().spki);
    assert_eq!(
        (
            binding.workload.as_str(),
            binding.grant.as_str(),
            binding.handout
        ),
        ("payments-1", "payments", Handout::Api)
    );
    replica.end().await;
    synced(&agent).await;

    agent.rotation.rotate("payments-1").await;
    let delta = replica.batch().await;
    assert_eq!(delta.sequence, 2);
    assert_eq!(
        bindings(&delta).len(),
        1,
        "its evidence was told before: {delta:?}"
    );
    agent.unsign();
    let gone = replica.batch().await;
    assert_eq!(
        gone.items.len(),
        2,
        "the bindings of both keys are withdrawn: {gone:?}"
    );
    assert!(
        gone.items
            .iter()
            .all(|item| matches!(item, FeedItem::Withdrawn { .. }))
    );
    let refused = replica.batch().await;
    assert!(
        matches!(refused.items.as_slice(), [FeedItem::Refusal(refusal)] if refusal.reason == "artifact-unsigned"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn svid_is_handed_over_once_the_replica_has_its_binding() {
    let agent = Agent::new();
    agent.sign("payments");
    let mut replica = FakeReplica::serve(&agent).await;
    feed(&agent, &replica.address, replica_id()).await;
    replica.hello().await;
    replica.end().await;
    synced(&agent).await;
    let holding = agent
        .rotation
        .hold(&workload(1), Handout::Api)
        .await
        .unwrap();
    replica.batch().await;
    assert_eq!(agent.metrics.feed_late.value(), 0);
    let before = serial(&holding);

    replica.answers.store(false, Ordering::SeqCst);
    let asked = tokio::time::Instant::now();
    agent.rotation.rotate("").await;
    assert!(
        asked.elapsed() >= Duration::from_millis(500),
        "a silent replica is waited for"
    );
    assert_eq!(agent.metrics.feed_late.value(), 1);
    assert_ne!(serial(&holding), before, "and then no longer");
}

#[tokio::test]
async fn policy_change_begins_a_new_stream_with_its_hash() {
    let agent = Agent::new();
    let mut replica = FakeReplica::serve(&agent).await;
    feed(&agent, &replica.address, replica_id()).await;
    let before = replica.hello().await.policy_hash;
    replica.end().await;
    agent.enforce(&crate::agent::POLICY.replace("payments.acme.test", "pay.acme.test"));
    let hello = replica.hello().await;
    assert_ne!(hello.policy_hash, before);
    assert_eq!(hello.policy_hash, agent.grants.borrow().policy_hash());
}

#[tokio::test]
async fn somebody_else_at_the_replicas_address_hears_nothing() {
    let agent = Agent::new();
    let mut replica = FakeReplica::serve(&agent).await;
    let expected = SpiffeId::parse(&format!("spiffe://{}/countersign/another", domain())).unwrap();
    feed(&agent, &replica.address, expected).await;
    assert!(
        timeout(Duration::from_millis(1500), replica.heard.recv())
            .await
            .is_err()
    );
    assert_eq!(agent.metrics.replicas_synced.value(), 0);
}
