//! What was found lately.

use std::{sync::Arc, time::Duration};

use evidence::Vouched;
use moka::sync;

use super::Key;

/// Answers with signatures and answers without, apart: a flood of unsigned digests pushes no signed one out.
#[derive(Debug)]
pub(super) struct Cache {
    positive: sync::Cache<Key, Arc<Vouched>>,
    negative: sync::Cache<Key, Arc<Vouched>>,
}

/// Digests with signatures that are remembered: about 1 KiB each.
const MAX_POSITIVE: u64 = 65_536;

/// Digests without signatures that are remembered.
const MAX_NEGATIVE: u64 = 4096;

/// After this a signed digest is looked up again, since another signer may have signed it.
const POSITIVE_FOR: Duration = Duration::from_mins(5);

/// After this an unsigned digest is looked up again: who has just signed it waits no longer than this.
const NEGATIVE_FOR: Duration = Duration::from_secs(5);

impl Cache {
    pub(super) fn new() -> Self {
        let positive = sync::Cache::builder()
            .max_capacity(MAX_POSITIVE)
            .time_to_live(POSITIVE_FOR)
            .build();
        let negative = sync::Cache::builder()
            .max_capacity(MAX_NEGATIVE)
            .time_to_live(NEGATIVE_FOR)
            .build();
        Self { positive, negative }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Vouched>> {
        self.positive.get(key).or_else(|| self.negative.get(key))
    }

    /// An answer that is not whole is looked up again as soon as one without signatures.
    pub(super) fn insert(&self, key: Key, found: &super::fetch::Found) {
        let lasts = found.complete && !found.vouched.signatures.is_empty();
        let cache = if lasts {
            &self.positive
        } else {
            &self.negative
        };
        cache.insert(key, Arc::clone(&found.vouched));
    }
}
