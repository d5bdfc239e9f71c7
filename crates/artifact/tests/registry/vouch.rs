//! Many askers, one look-up; late answers; kept evidence.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use countersign_artifact::{ArtifactError, KeptEvidence, Voucher};
use evidence::{Digest, SignerSet, Vouched};
use futures_util::future::join_all;
use identity::private_key::PrivateKey;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use super::fake::{
    BUNDLE, FakeRegistry, HOST, INDEX, Reply, SIGNATURE, SIMPLE_SIGNING, descriptor, image, index,
    repository,
};

const NAME: &str = "a/b";

fn subject() -> Digest {
    Digest::sha256_of(b"subject")
}

fn legacy_path() -> String {
    format!("/v2/{NAME}/manifests/sha256-{}.sig", subject().hex())
}

/// A voucher with its task, and one trusted key.
struct Bench {
    registry: FakeRegistry,
    signer: PrivateKey,
    signers: Arc<SignerSet>,
    voucher: Voucher,
    _task: JoinSet<()>,
}

impl Bench {
    async fn new(kept: Option<KeptEvidence>) -> Self {
        let signer = PrivateKey::generate().unwrap();
        let signers = Arc::new(SignerSet::new([signer.public_key().clone()]));
        let registry = FakeRegistry::start().await;
        let (voucher, task) = Voucher::new(registry.registries(), kept);
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(std::future::pending()));
        Self {
            registry,
            signer,
            signers,
            voucher,
            _task: tasks,
        }
    }

    /// The same registry and keys after a restart.
    fn restarted(self, kept: Option<KeptEvidence>) -> Self {
        let (voucher, task) = Voucher::new(self.registry.registries(), kept);
        let mut tasks = JoinSet::new();
        tasks.spawn(task.run(std::future::pending()));
        Self {
            voucher,
            _task: tasks,
            ..self
        }
    }

    fn sign(&self) {
        let payload = json!({ "critical": {
            "identity": { "docker-reference": "localhost/a/b" },
            "image": { "docker-manifest-digest": subject().as_str() },
            "type": "cosign container image signature",
        }, "optional": null });
        let payload = serde_json::to_vec(&payload).unwrap();
        let signature = STANDARD.encode(self.signer.sign(&payload).unwrap());
        let blob = self.registry.blob(NAME, &payload);
        let mut layer = descriptor(SIMPLE_SIGNING, &blob, payload.len());
        layer["annotations"] = json!({ SIGNATURE: signature });
        self.registry.tagged(
            NAME,
            &format!("sha256-{}.sig", subject().hex()),
            &image(&[layer]),
        );
    }

    async fn ask(&self) -> Result<Arc<Vouched>, ArtifactError> {
        self.ask_within(Duration::from_secs(10)).await
    }

    async fn ask_within(&self, time: Duration) -> Result<Arc<Vouched>, ArtifactError> {
        let deadline = Instant::now() + time;
        self.voucher
            .vouch(HOST, &repository(NAME), &subject(), &self.signers, deadline)
            .await
    }

    fn lookups(&self) -> usize {
        self.registry.count("/referrers/")
    }
}

#[tokio::test]
async fn a_hundred_askers_are_one_look_up() {
    let bench = Bench::new(None).await;
    bench.sign();
    let answers = join_all((0..100).map(|_| bench.ask())).await;
    assert!(
        answers
            .into_iter()
            .all(|answer| answer.unwrap().signatures.len() == 1)
    );
    assert_eq!(bench.lookups(), 1);
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn an_unsigned_artifact_is_an_answer_and_remembered_for_a_moment() {
    let bench = Bench::new(None).await;
    for _ in 0..2 {
        let vouched = bench.ask().await.unwrap();
        assert_eq!((vouched.signatures.len(), vouched.rejected.len()), (0, 0));
    }
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn an_error_answers_everyone_who_waits_and_is_not_remembered() {
    let bench = Bench::new(None).await;
    bench.registry.set(&legacy_path(), Reply::status(500));
    let answers = join_all((0..10).map(|_| bench.ask())).await;
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Err(ArtifactError::Answered { status: 500, .. })))
    );
    assert_eq!(bench.lookups(), 1);
    bench.sign();
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);
}

#[tokio::test]
async fn another_set_of_signers_is_another_question() {
    let bench = Bench::new(None).await;
    bench.sign();
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);
    let others = Arc::new(SignerSet::new([PrivateKey::generate()
        .unwrap()
        .public_key()
        .clone()]));
    let deadline = Instant::now() + Duration::from_secs(10);
    let vouched = bench
        .voucher
        .vouch(HOST, &repository(NAME), &subject(), &others, deadline)
        .await
        .unwrap();
    assert_eq!((vouched.signatures.len(), vouched.rejected.len()), (0, 1));
}

#[tokio::test]
async fn another_repository_is_another_question() {
    let bench = Bench::new(None).await;
    bench.sign();
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);
    let deadline = Instant::now() + Duration::from_secs(10);
    let elsewhere = bench
        .voucher
        .vouch(
            HOST,
            &repository("a/c"),
            &subject(),
            &bench.signers,
            deadline,
        )
        .await;
    assert_eq!(elsewhere.unwrap().signatures.len(), 0);
}

#[tokio::test]
async fn who_asks_with_too_little_time_is_told_so_and_the_look_up_goes_on() {
    let bench = Bench::new(None).await;
    bench.sign();
    let gate = bench.registry.gate(&legacy_path());
    let late = bench.ask_within(Duration::from_millis(50)).await;
    assert!(matches!(late, Err(ArtifactError::Deadline { .. })));
    gate.add_permits(1);
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);
    assert_eq!(bench.lookups(), 1);
}

#[tokio::test]
async fn signatures_that_were_read_answer_whatever_else_failed() {
    let bench = Bench::new(None).await;
    bench.sign();
    bench.registry.set(
        &format!("/v2/{NAME}/referrers/{}", subject()),
        Reply::status(500),
    );
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);
}

#[tokio::test]
async fn kept_evidence_answers_when_the_registry_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let kept = || Some(KeptEvidence::open(directory.path()).unwrap());
    let bench = Bench::new(kept()).await;
    bench.sign();
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);

    let bench = bench.restarted(kept());
    bench.registry.set(&legacy_path(), Reply::status(500));
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 1);

    let bench = bench.restarted(kept());
    bench.registry.remove(&legacy_path());
    assert_eq!(
        bench.ask().await.unwrap().signatures.len(),
        1,
        "a deleted signature locks nothing out"
    );

    let bench = bench.restarted(None);
    assert_eq!(bench.ask().await.unwrap().signatures.len(), 0);
}

#[tokio::test]
async fn junk_beside_a_signature_is_not_kept_and_hides_it_from_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let kept = KeptEvidence::open(directory.path()).unwrap();
    let bench = Bench::new(Some(kept.clone())).await;
    bench.sign();
    let junk = bench.registry.blob(NAME, b"junk");
    let referrer = bench
        .registry
        .manifest(NAME, &image(&[descriptor(BUNDLE, &junk, 4)]));
    let listed = serde_json::to_vec(&index(&[&referrer])).unwrap();
    bench.registry.set(
        &format!("/v2/{NAME}/referrers/{}", subject()),
        Reply::ok(INDEX, listed),
    );
    let vouched = bench.ask().await.unwrap();
    assert_eq!((vouched.signatures.len(), vouched.rejected.len()), (1, 1));
    assert_eq!(
        kept.load(HOST, &repository(NAME), &subject())
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn evidence_that_verifies_for_nobody_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(Some(KeptEvidence::open(directory.path()).unwrap())).await;
    bench.sign();
    bench.signers = Arc::new(SignerSet::new([PrivateKey::generate()
        .unwrap()
        .public_key()
        .clone()]));
    assert_eq!(bench.ask().await.unwrap().rejected.len(), 1);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn without_its_task_a_voucher_says_so() {
    let bench = Bench::new(None).await;
    let (voucher, task) = Voucher::new(bench.registry.registries(), None);
    drop(task);
    let deadline = Instant::now() + Duration::from_secs(10);
    let answer = voucher
        .vouch(
            HOST,
            &repository(NAME),
            &subject(),
            &bench.signers,
            deadline,
        )
        .await;
    assert!(matches!(answer, Err(ArtifactError::Interrupted)));
}

#[tokio::test]
async fn a_queue_that_nobody_empties_is_overload() {
    let bench = Bench::new(None).await;
    let (voucher, _task) = Voucher::new(bench.registry.registries(), None);
    let deadline = Instant::now() + Duration::from_millis(100);
    let name = repository(NAME);
    let asked: Vec<_> = (0..300_u32)
        .map(|n| Digest::sha256_of(&n.to_be_bytes()))
        .collect();
    let answers = join_all(
        asked
            .iter()
            .map(|digest| voucher.vouch(HOST, &name, digest, &bench.signers, deadline)),
    )
    .await;
    let overloaded = answers
        .iter()
        .filter(|answer| matches!(answer, Err(ArtifactError::Overloaded)))
        .count();
    assert_eq!(overloaded, 300 - 256);
}
