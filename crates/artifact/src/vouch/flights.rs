//! Look-ups under way: one for each key, with everyone who waits for it.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::oneshot,
    task::{Id, JoinError, JoinSet},
};
use tracing::error;

use super::{
    Answer, Job, Key,
    cache::Cache,
    fetch::{Fetcher, Found},
};
use crate::error::ArtifactError;

/// The look-ups that are under way.
#[derive(Debug)]
pub(super) struct Flights {
    fetcher: Fetcher,
    cache: Arc<Cache>,
    tasks: JoinSet<Result<Found, ArtifactError>>,
    keys: HashMap<Id, Key>,
    waiting: HashMap<Key, Vec<oneshot::Sender<Answer>>>,
}

/// Look-ups under way at once; each holds at most a few megabytes.
const MAX_FLIGHTS: usize = 64;

/// Askers that wait for one look-up.
const MAX_WAITING: usize = 4096;

impl Flights {
    pub(super) fn new(fetcher: Fetcher, cache: Arc<Cache>) -> Self {
        Self {
            fetcher,
            cache,
            tasks: JoinSet::new(),
            keys: HashMap::new(),
            waiting: HashMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Lets the asker wait for a look-up that is under way, or begins one.
    pub(super) fn board(&mut self, job: Job) {
        let Job {
            key,
            signers,
            reply,
        } = job;
        // It may have landed while the asker stood in the queue.
        if let Some(vouched) = self.cache.get(&key) {
            answer(reply, Ok(vouched));
            return;
        }
        if let Some(waiting) = self.waiting.get_mut(&key) {
            match waiting.len() {
                full if full >= MAX_WAITING => answer(reply, Err(ArtifactError::Overloaded)),
                _ => waiting.push(reply),
            }
            return;
        }
        if self.tasks.len() >= MAX_FLIGHTS {
            answer(reply, Err(ArtifactError::Overloaded));
            return;
        }
        let (fetcher, wanted) = (self.fetcher.clone(), key.clone());
        let flight = self
            .tasks
            .spawn(async move { fetcher.fetch(&wanted, &signers).await });
        self.keys.insert(flight.id(), key.clone());
        self.waiting.insert(key, vec![reply]);
    }

    /// Waits for one look-up to end and answers everyone who waits for it. Cancel safe.
    pub(super) async fn landed(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, result))) => self.land(id, result),
            Some(Err(panic)) => self.crash(&panic),
            None => {}
        }
    }

    fn land(&mut self, id: Id, result: Result<Found, ArtifactError>) {
        let Some(key) = self.keys.remove(&id) else {
            return;
        };
        let reply = match result {
            Ok(found) => {
                self.cache.insert(key.clone(), &found);
                Ok(found.vouched)
            }
            Err(error) => Err(error),
        };
        self.answer_all(&key, &reply);
    }

    fn crash(&mut self, panic: &JoinError) {
        let Some(key) = self.keys.remove(&panic.id()) else {
            return;
        };
        error!(digest = %key.digest, error = %panic, "looking up evidence crashed");
        self.answer_all(&key, &Err(ArtifactError::Interrupted));
    }

    fn answer_all(&mut self, key: &Key, reply: &Answer) {
        for waiting in self.waiting.remove(key).unwrap_or_default() {
            answer(waiting, reply.clone());
        }
    }
}

/// An asker that left needs no answer.
fn answer(reply: oneshot::Sender<Answer>, answer: Answer) {
    let _left = reply.send(answer);
}
