//! Owns readiness: which parts of a program are still missing, by name.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// The parts that a program waits for before it may serve. It is ready when none is left. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Parts>>);

impl Readiness {
    /// A program that waits for nothing yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Parts::default())))
    }

    /// Adds a part that must come before the program is ready.
    pub fn wait_for(&self, part: impl Into<Arc<str>>) -> Missing {
        let part = part.into();
        let mut number = 0;
        self.0.send_modify(|parts| {
            number = parts.next;
            parts.next = parts.next.saturating_add(1);
            parts.missing.insert(number, part);
        });
        Missing {
            readiness: self.clone(),
            number,
        }
    }

    /// The names of what is missing, in the order it was added.
    pub fn missing(&self) -> Vec<Arc<str>> {
        self.0.borrow().missing.values().map(Arc::clone).collect()
    }

    /// Whether nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().missing.is_empty()
    }

    /// Waits until nothing is missing.
    pub async fn ready(&self) {
        let mut parts = self.0.subscribe();
        // The sender is `self`, so the wait cannot end for want of one.
        drop(parts.wait_for(|parts| parts.missing.is_empty()).await);
    }

    /// Waits until readiness differs from `was`, and says what it is.
    pub async fn changed_from(&self, was: bool) -> bool {
        let mut parts = self.0.subscribe();
        drop(
            parts
                .wait_for(|parts| parts.missing.is_empty() != was)
                .await,
        );
        !was
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

/// A part that is missing. Dropping it does not make the part ready: only [`Missing::done`] does.
#[derive(Debug)]
#[must_use = "the part stays missing until `done` is called"]
pub struct Missing {
    readiness: Readiness,
    number: u64,
}

impl Missing {
    /// Says that the part has come.
    pub fn done(self) {
        self.readiness.0.send_modify(|parts| {
            parts.missing.remove(&self.number);
        });
    }
}

#[derive(Debug, Default)]
struct Parts {
    next: u64,
    missing: BTreeMap<u64, Arc<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_ready_when_the_last_part_is_done() {
        let readiness = Readiness::new();
        let policy = readiness.wait_for("policy");
        let feed = readiness.wait_for("feed");
        assert_eq!(
            readiness.missing(),
            [Arc::from("policy"), Arc::from("feed")]
        );
        policy.done();
        assert!(!readiness.is_ready());
        feed.done();
        assert!(readiness.is_ready());
    }

    #[test]
    fn part_that_was_dropped_stays_missing() {
        let readiness = Readiness::new();
        drop(readiness.wait_for("policy"));
        assert!(!readiness.is_ready());
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_part() {
        let readiness = Readiness::new();
        let policy = readiness.wait_for("policy");
        let ((), ()) = tokio::join!(readiness.ready(), async { policy.done() });
        assert!(readiness.is_ready());
    }

    #[tokio::test]
    async fn part_added_later_makes_the_program_unready_again() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready());
        let _feed = readiness.wait_for("feed");
        assert!(!readiness.changed_from(true).await);
    }
}
