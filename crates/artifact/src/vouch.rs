//! From a digest in a registry to what is vouched for it: each digest is fetched once, however many ask.

use std::{future::Future, sync::Arc};

use evidence::{Digest, SignerSet, Vouched};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{
    error::ArtifactError,
    reference::Repository,
    registry::{Registries, without_port},
    source::KeptEvidence,
};

mod cache;
mod fetch;
mod flights;

use cache::Cache;
use fetch::Fetcher;
use flights::Flights;

/// Answers what is vouched for a digest. Cheap to clone; the work is done by its [`VouchTask`].
#[derive(Clone, Debug)]
pub struct Voucher {
    jobs: mpsc::Sender<Job>,
    cache: Arc<Cache>,
}

/// The task that fetches and verifies. It must run for a [`Voucher`] to answer.
#[derive(Debug)]
pub struct VouchTask {
    jobs: mpsc::Receiver<Job>,
    flights: Flights,
}

/// Everything that an answer depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    host: String,
    repository: Repository,
    digest: Digest,
    signers: [u8; 32],
}

/// What one asker waits for.
type Answer = Result<Arc<Vouched>, ArtifactError>;

#[derive(Debug)]
struct Job {
    key: Key,
    signers: Arc<SignerSet>,
    reply: oneshot::Sender<Answer>,
}

/// Askers that may wait to be taken up by the task. It takes them up at once, so that a full queue means overload.
const QUEUE: usize = 256;

impl Voucher {
    /// A voucher over `registries`, and the task that works for it. What verified is kept in `kept`, if given.
    pub fn new(registries: Registries, kept: Option<KeptEvidence>) -> (Self, VouchTask) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let cache = Arc::new(Cache::new());
        let flights = Flights::new(Fetcher::new(registries, kept), Arc::clone(&cache));
        (
            Self {
                jobs: sender,
                cache,
            },
            VouchTask {
                jobs: receiver,
                flights,
            },
        )
    }

    /// What is vouched for `digest` in a repository, by the keys in `signers`.
    ///
    /// An artifact without any signature is an answer: [`Vouched`] without signatures. An error means that it is not known.
    ///
    /// # Errors
    /// [`ArtifactError`]; after `deadline` [`ArtifactError::Deadline`], and the fetch goes on for whoever asks next.
    pub async fn vouch(
        &self,
        host: &str,
        repository: &Repository,
        digest: &Digest,
        signers: &Arc<SignerSet>,
        deadline: Instant,
    ) -> Result<Arc<Vouched>, ArtifactError> {
        let key = Key {
            host: without_port(host).to_owned(),
            repository: repository.clone(),
            digest: digest.clone(),
            signers: signers.hash(),
        };
        if let Some(vouched) = self.cache.get(&key) {
            return Ok(vouched);
        }
        let (reply, answer) = oneshot::channel();
        let job = Job {
            key,
            signers: Arc::clone(signers),
            reply,
        };
        self.jobs.try_send(job).map_err(|error| refused(&error))?;
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_dropped)) => Err(ArtifactError::Interrupted),
            Err(_elapsed) => Err(ArtifactError::Deadline {
                what: format!("evidence of `{repository}@{digest}`"),
            }),
        }
    }
}

fn refused(error: &mpsc::error::TrySendError<Job>) -> ArtifactError {
    match error {
        mpsc::error::TrySendError::Full(_) => ArtifactError::Overloaded,
        mpsc::error::TrySendError::Closed(_) => ArtifactError::Interrupted,
    }
}

impl VouchTask {
    /// Works until `stop` is done or every [`Voucher`] is gone. Who still waits then gets [`ArtifactError::Interrupted`].
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            tokio::select! { biased;
                () = &mut stop => return,
                () = self.flights.landed(), if !self.flights.is_empty() => {}
                job = self.jobs.recv() => match job {
                    Some(job) => self.flights.board(job),
                    None => return,
                },
            }
        }
    }
}
