//! The digests of executables that are refused, so that a refusal can name them: never evidence for an identity.

use std::{collections::HashMap, sync::Arc, time::Duration};

use evidence::digest::Digest;
use tokio::sync::Semaphore;

use super::{Executable, executable::sha256, file::FileFacts};

/// Hashes one file at a time, and remembers the last.
#[derive(Debug, Clone)]
pub(super) struct Digests {
    known: Arc<parking_lot::Mutex<HashMap<FileFacts, Digest>>>,
    turn: Arc<Semaphore>,
}

impl Default for Digests {
    fn default() -> Self {
        Self {
            known: Arc::default(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }
}

impl Digests {
    /// The digest of an executable; none when it is too large, or others keep us too busy.
    pub(super) async fn of(&self, executable: &Executable) -> Option<Digest> {
        let facts = executable.facts();
        if let Some(digest) = self.known.lock().get(&facts) {
            return Some(digest.clone());
        }
        if facts.size > MAX_BYTES {
            return None;
        }
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.turn).acquire_owned())
            .await
            .ok()?
            .ok()?;
        let executable = executable.try_clone().ok()?;
        let hashing = tokio::task::spawn_blocking(move || {
            let digest = executable
                .reader()
                .and_then(|file| sha256(&file, MAX_BYTES));
            drop(turn); // only now: a hash that nobody waits for still keeps a core busy
            digest
        });
        let digest = tokio::time::timeout(PATIENCE, hashing)
            .await
            .ok()?
            .ok()?
            .ok()?;
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(facts, digest.clone());
        Some(digest)
    }
}

/// 512 MiB: a second of work for whoever wants to keep us busy.
const MAX_BYTES: u64 = 512 * 1024 * 1024;
/// 2 s: a refusal does not wait longer for its digest.
const PATIENCE: Duration = Duration::from_secs(2);
/// A few refused programs ask again and again.
const MAX_KNOWN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::process::Process;

    #[tokio::test]
    async fn executable_is_named_by_its_digest() {
        let own = Process::open(std::process::id())
            .unwrap()
            .executable()
            .unwrap();
        let digests = Digests::default();
        let expected = Digest::sha256_of(&std::fs::read(std::env::current_exe().unwrap()).unwrap());
        assert_eq!(digests.of(&own).await, Some(expected.clone()));
        assert_eq!(digests.of(&own).await, Some(expected));
        assert_eq!(digests.known.lock().len(), 1);
    }
}
