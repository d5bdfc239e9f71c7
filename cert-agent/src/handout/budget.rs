//! How many streams each user may hold: one that opens them in a loop starves nobody else.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// The streams that are open, by uid.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<Mutex<HashMap<u32, usize>>>);

/// One open stream. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    budget: Budget,
    uid: u32,
}

impl Budget {
    /// Takes a place, if the user has one left.
    pub(super) fn take(&self, uid: u32) -> Option<Place> {
        let mut open = self.0.lock();
        let count = open.entry(uid).or_default();
        if *count >= STREAMS_PER_UID {
            return None;
        }
        *count += 1;
        Some(Place {
            budget: self.clone(),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.budget.0.lock();
        if let Some(count) = open.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.uid);
            }
        }
    }
}

/// Envoy opens one stream for each secret it names; a hundred programs of one user are far more than one workload kind.
const STREAMS_PER_UID: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_given_back_can_be_taken_again() {
        let budget = Budget::default();
        let places: Vec<_> = (0..STREAMS_PER_UID)
            .map(|_| budget.take(1000).unwrap())
            .collect();
        assert!(budget.take(1000).is_none());
        assert!(budget.take(1001).is_some(), "another user is not affected");
        drop(places);
        assert!(budget.take(1000).is_some());
    }
}
