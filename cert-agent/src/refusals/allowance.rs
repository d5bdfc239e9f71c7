//! How many refusals each user may be the cause of: one that makes up new ones fills neither the list, the log nor the feed. PURE.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

/// What is left to each user.
#[derive(Debug, Default)]
pub(super) struct Allowances(HashMap<Option<u32>, Allowance>);

/// A bucket that holds [`MOST_AT_ONCE`] and fills by one every [`ONE_MORE_EVERY`].
#[derive(Debug, Clone, Copy)]
struct Allowance {
    left: u32,
    filled: SystemTime,
}

impl Allowances {
    /// Takes one refusal from what a user has left, and says whether there was one. Those without a user share one allowance.
    pub(super) fn take(&mut self, uid: Option<u32>, now: SystemTime) -> bool {
        if !self.0.contains_key(&uid) && self.0.len() >= MOST_USERS {
            self.0.retain(|_, allowance| {
                allowance.fill(now);
                allowance.left < MOST_AT_ONCE
            });
            if self.0.len() >= MOST_USERS {
                return false;
            }
        }
        let allowance = self.0.entry(uid).or_insert(Allowance {
            left: MOST_AT_ONCE,
            filled: now,
        });
        allowance.fill(now);
        let taken = allowance.left > 0;
        allowance.left = allowance.left.saturating_sub(1);
        taken
    }
}

impl Allowance {
    fn fill(&mut self, now: SystemTime) {
        // A clock that was set back fills nothing, and begins anew.
        let Ok(since) = now.duration_since(self.filled) else {
            self.filled = now;
            return;
        };
        let more = u32::try_from(since.as_secs() / ONE_MORE_EVERY.as_secs()).unwrap_or(u32::MAX);
        if more > 0 {
            self.left = self.left.saturating_add(more).min(MOST_AT_ONCE);
            self.filled = now;
        }
    }
}

/// Far more than an operator who tries things out.
const MOST_AT_ONCE: u32 = 64;
/// One program that is refused for good is told of once a minute; this is ten of them.
const ONE_MORE_EVERY: Duration = Duration::from_secs(6);
/// Users of one node; those with a full allowance are forgotten first.
const MOST_USERS: usize = 1024;

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn spent(allowances: &mut Allowances, uid: u32) {
        for _ in 0..MOST_AT_ONCE {
            assert!(allowances.take(Some(uid), UNIX_EPOCH));
        }
    }

    #[test]
    fn user_who_causes_too_many_is_counted_only_and_another_is_not() {
        let mut allowances = Allowances::default();
        spent(&mut allowances, 1);
        assert!(!allowances.take(Some(1), UNIX_EPOCH));
        assert!(allowances.take(Some(2), UNIX_EPOCH));
        assert!(allowances.take(None, UNIX_EPOCH));
    }

    #[test]
    fn allowance_fills_with_time() {
        let mut allowances = Allowances::default();
        spent(&mut allowances, 1);
        let later = UNIX_EPOCH + 2 * ONE_MORE_EVERY;
        assert!(allowances.take(Some(1), later));
        assert!(allowances.take(Some(1), later));
        assert!(!allowances.take(Some(1), later));
    }

    #[test]
    fn clock_set_back_neither_fills_nor_locks_out() {
        let mut allowances = Allowances::default();
        let late = UNIX_EPOCH + Duration::from_hours(1);
        assert!(allowances.take(Some(1), late));
        for _ in 1..MOST_AT_ONCE {
            assert!(allowances.take(Some(1), UNIX_EPOCH));
        }
        assert!(!allowances.take(Some(1), UNIX_EPOCH));
        assert!(allowances.take(Some(1), UNIX_EPOCH + ONE_MORE_EVERY));
    }

    #[test]
    fn users_beyond_the_bound_wait_until_others_have_filled() {
        let mut allowances = Allowances::default();
        let most = u32::try_from(MOST_USERS).unwrap();
        assert!((0..most).all(|uid| allowances.take(Some(uid), UNIX_EPOCH)));
        assert!(!allowances.take(Some(most), UNIX_EPOCH));
        assert!(allowances.take(Some(most), UNIX_EPOCH + ONE_MORE_EVERY));
        assert_eq!(allowances.0.len(), 1);
    }
}
