//! How many streams or connections each user may hold, and all together: one that opens them in a loop starves nobody else.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

/// What is open, by uid. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limits: Limits,
    open: Arc<Mutex<Open>>,
}

/// How much may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// For one user.
    pub per_uid: usize,
    /// For all users together.
    pub total: usize,
}

#[derive(Debug, Default)]
struct Open {
    by_uid: HashMap<u32, usize>,
    total: usize,
}

/// One open stream or connection. Dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Place {
    budget: Budget,
    uid: u32,
}

impl Budget {
    /// Nothing is open yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Arc::default(),
        }
    }

    /// Takes a place, if the user has one left, and all together have.
    pub(super) fn take(&self, uid: u32) -> Option<Place> {
        let mut open = self.open.lock();
        let total = open.total.saturating_add(1);
        let count = open.by_uid.get(&uid).copied().unwrap_or_default();
        if count >= self.limits.per_uid || total > self.limits.total {
            return None;
        }
        open.by_uid.insert(uid, count.saturating_add(1));
        open.total = total;
        Some(Place {
            budget: self.clone(),
            uid,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.budget.open.lock();
        open.total = open.total.saturating_sub(1);
        if let Some(count) = open.by_uid.get_mut(&self.uid) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.by_uid.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_given_back_can_be_taken_again() {
        let budget = Budget::new(Limits {
            per_uid: 3,
            total: 100,
        });
        let places: Vec<_> = (0..3).map(|_| budget.take(1000).unwrap()).collect();
        assert!(budget.take(1000).is_none());
        assert!(budget.take(1001).is_some(), "another user is not affected");
        drop(places);
        assert!(budget.take(1000).is_some());
    }

    #[test]
    fn all_users_together_have_a_limit_too() {
        let budget = Budget::new(Limits {
            per_uid: 3,
            total: 4,
        });
        let mut places: Vec<_> = (0..4).map(|uid| budget.take(uid).unwrap()).collect();
        assert!(budget.take(9).is_none());
        places.pop();
        assert!(budget.take(9).is_some());
    }
}
