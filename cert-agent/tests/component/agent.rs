//! An agent's parts around a workload that a test makes up: everything real but the kernel's part and the clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use artifact::DirectorySource;
use cert_agent::{
    feed::Feed,
    grants::{Grants, Reserved},
    issuer::{
        Authorities, IssueError, Issuer, SigningRequest,
        embedded_ca::{EmbeddedCa, directory::Directory},
    },
    judge::Judge,
    metrics::Metrics,
    refusals::Refusals,
    rotation::{Attestor, Holding, Parts, Rotation},
    workload::{Peer, Refused, Workload},
};
use daemon::{Clock, Lifecycle, SystemClock, metrics::Registry};
use evidence::{
    binding::{BoundArtifact, Role},
    digest::Digest,
};
use futures_util::future::BoxFuture;
use identity::{PrivateKey, SpiffeId, TrustDomain};
use parking_lot::Mutex;
use policy::{PolicySource, Reason};
use rustls::pki_types::CertificateDer;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

/// Wall time that moves with tokio's, so that a paused clock is one.
#[derive(Debug)]
pub(super) struct TokioClock {
    begin: SystemTime,
    began: Instant,
}

impl TokioClock {
    pub(super) fn new() -> Self {
        Self {
            begin: SystemClock.now(),
            began: Instant::now(),
        }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        self.begin + self.began.elapsed()
    }
}

/// An attestor that says what a test wants it to.
#[derive(Debug, Default)]
pub(super) struct FakeAttestor {
    workload: Mutex<Option<Arc<Workload>>>,
    refusing: Mutex<Option<Refused>>,
    /// Refuses from this many checks on.
    checks_left: Mutex<Option<usize>>,
    ended: CancellationToken,
}

impl FakeAttestor {
    pub(super) fn is(&self, workload: &Arc<Workload>) {
        *self.workload.lock() = Some(Arc::clone(workload));
    }

    pub(super) fn refuse(&self, refused: Option<Refused>) {
        *self.refusing.lock() = refused;
    }

    pub(super) fn refuse_after(&self, checks: usize) {
        *self.checks_left.lock() = Some(checks);
    }

    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    fn looked(&self) -> Result<(), Refused> {
        if let Some(refused) = &*self.refusing.lock() {
            return Err(refused.clone());
        }
        match &mut *self.checks_left.lock() {
            Some(0) => Err(Refused::new(
                Reason::WorkloadModified,
                "a process of the scope is another program",
            )),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Attestor for FakeAttestor {
    fn workload_of<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Arc<Workload>, Refused>> {
        Box::pin(async move {
            self.looked()?;
            let none = || {
                peer.describe(Refused::new(
                    Reason::WorkloadNotIsolated,
                    "not in a scope of this agent",
                ))
            };
            self.workload.lock().clone().ok_or_else(none)
        })
    }

    fn check<'a>(
        &'a self,
        _workload: &'a Workload,
        _peer: Option<&'a Peer>,
    ) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(async { self.looked() })
    }

    fn gone<'a>(&'a self, _workload: &'a Workload) -> BoxFuture<'a, ()> {
        Box::pin(self.ended.cancelled())
    }
}

/// The embedded CA, which may be told to be down, for all or for one identity.
#[derive(Debug)]
pub(super) struct FlakyIssuer {
    ca: EmbeddedCa,
    down: AtomicBool,
    down_for: Mutex<Option<SpiffeId>>,
    pub(super) asked: AtomicUsize,
}

impl FlakyIssuer {
    pub(super) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub(super) fn set_down_for(&self, id: &str) {
        *self.down_for.lock() = Some(SpiffeId::parse(id).unwrap());
    }
}

impl Issuer for FlakyIssuer {
    fn issue<'a>(
        &'a self,
        request: &'a SigningRequest,
    ) -> BoxFuture<'a, Result<Vec<CertificateDer<'static>>, IssueError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let refused = self.down.load(Ordering::SeqCst)
            || self.down_for.lock().as_ref() == Some(request.spiffe_id());
        if refused {
            return Box::pin(async {
                Err(IssueError::Unavailable {
                    detail: "told to be down".to_owned(),
                })
            });
        }
        self.ca.issue(request)
    }

    fn authorities(&self) -> watch::Receiver<Arc<Authorities>> {
        self.ca.authorities()
    }
}

/// The parts of one agent.
pub(super) struct Agent {
    pub(super) files: tempfile::TempDir,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) attestor: Arc<FakeAttestor>,
    pub(super) issuer: Arc<FlakyIssuer>,
    pub(super) grants: watch::Sender<Arc<Grants>>,
    pub(super) judge: Judge,
    pub(super) feed: Feed,
    pub(super) refusals: Refusals,
    pub(super) rotation: Rotation,
    pub(super) lifecycle: Lifecycle,
    pub(super) metrics: Metrics,
    key: PrivateKey,
}

impl Agent {
    /// An agent whose policy grants `payments` to a signed program of uid 1000.
    pub(super) fn new() -> Self {
        let files = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
        let key = PrivateKey::generate().unwrap();
        let (grants, in_force) = watch::channel(Arc::new(granting(POLICY, &key)));
        let metrics = Metrics::new(&Registry::new());
        let ca = Directory::at(files.path().join("ca"));
        ca.init(&domain(), clock.now()).unwrap();
        let ca = EmbeddedCa::open(ca, domain(), Arc::clone(&clock), metrics.clone()).unwrap();
        let issuer = Arc::new(FlakyIssuer {
            ca,
            down: false.into(),
            down_for: Mutex::default(),
            asked: 0.into(),
        });
        let evidence = files.path().join("evidence");
        std::fs::create_dir(&evidence).unwrap();
        let judge = Judge::new(
            in_force,
            Arc::new(DirectorySource::new(vec![evidence])),
            Arc::clone(&clock),
        );
        let feed = Feed::new(metrics.clone());
        let refusals = Refusals::new(node(), feed.clone(), Arc::clone(&clock), metrics.clone());
        let attestor = Arc::new(FakeAttestor::default());
        let lifecycle = Lifecycle::new();
        let parts = Parts {
            node: node(),
            issuer: Arc::<FlakyIssuer>::clone(&issuer),
            judge: judge.clone(),
            attestor: Arc::<FakeAttestor>::clone(&attestor),
            feed: feed.clone(),
            refusals: refusals.clone(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
        };
        let rotation = Rotation::new(parts, lifecycle.clone());
        Self {
            files,
            clock,
            attestor,
            issuer,
            grants,
            judge,
            feed,
            refusals,
            rotation,
            lifecycle,
            metrics,
            key,
        }
    }

    /// Puts other documents in force, under the same key.
    pub(super) fn enforce(&self, documents: &str) {
        self.grants
            .send_replace(Arc::new(granting(documents, &self.key)));
    }

    /// Signs the program of every workload here, as a product.
    pub(super) fn sign(&self, product: &str) {
        let evidence = kit::signer::sign(&program(), product, &self.key).unwrap();
        kit::signer::place(&self.files.path().join("evidence"), &program(), &evidence).unwrap();
    }

    /// Takes the signature away.
    pub(super) fn unsign(&self) {
        for file in std::fs::read_dir(self.files.path().join("evidence")).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

/// A workload of uid 1000 under the grant `payments`.
pub(super) fn workload(number: usize) -> Arc<Workload> {
    Arc::new(Workload {
        id: format!("payments-{number}"),
        grant: "payments".to_owned(),
        uid: 1000,
        selectors: vec![
            "unix:uid:1000".parse().unwrap(),
            "unix:gid:1000".parse().unwrap(),
        ],
        artifacts: vec![BoundArtifact {
            role: Role::App,
            digests: vec![program()],
        }],
        program: program(),
        started: SystemClock.now(),
    })
}

/// The serials that are held, or the reason why none is.
pub(super) fn held(holding: &watch::Receiver<Holding>) -> Result<Vec<String>, Reason> {
    match &*holding.borrow() {
        Holding::Svids(svids) => Ok(svids
            .iter()
            .map(|svid| svid.leaf().serial.clone())
            .collect()),
        Holding::Withdrawn(refused) => Err(refused.reason),
        Holding::Nothing => Ok(Vec::new()),
    }
}

pub(super) fn program() -> Digest {
    Digest::sha256_of(b"the program")
}

pub(super) fn node() -> SpiffeId {
    SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap()
}

pub(super) fn domain() -> TrustDomain {
    TrustDomain::parse("acme.test").unwrap()
}

fn granting(documents: &str, key: &PrivateKey) -> Grants {
    let pem = key.public_key().to_pem();
    let files = [
        ("policy.yaml", documents.as_bytes()),
        ("keys/release.pub", pem.as_bytes()),
    ];
    let source: PolicySource = files
        .into_iter()
        .map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
        .collect();
    let reserved = Reserved {
        trust_domain: domain(),
        infrastructure: Vec::new(),
    };
    Grants::join(Arc::new(policy::compile(&source).unwrap()), &reserved).unwrap()
}

pub(super) const TTL: Duration = Duration::from_hours(1);

pub(super) const POLICY: &str = r#"
apiVersion: countersign.dev/v1alpha1
kind: SignaturePolicy
metadata: { name: release }
spec: { signers: [{ name: key, key: { file: keys/release.pub } }] }
---
apiVersion: countersign.dev/v1alpha1
kind: IdentityGrant
metadata: { name: payments }
spec:
  spiffeId: spiffe://acme.test/ns/pay/sa/payments
  selectors: ["unix:uid:1000"]
  artifact: { signedBy: release, claims: { annotations: { product: payments } } }
  svid: { ttl: 1h, dnsNames: [payments.acme.test], hint: payments }
"#;

/// A second grant that the same workload meets.
pub(super) const SECOND: &str = r#"
---
apiVersion: countersign.dev/v1alpha1
kind: IdentityGrant
metadata: { name: second }
spec:
  spiffeId: spiffe://acme.test/ns/pay/sa/second
  selectors: ["unix:uid:1000"]
  artifact: { signedBy: release, anySigned: true }
"#;
