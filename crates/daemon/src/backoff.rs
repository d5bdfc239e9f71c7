//! Owns the waiting between attempts: longer each time, capped, and spread by chance.

use std::time::Duration;

/// The delays between attempts at one thing. Keep one per key.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `initial` and doubles up to `cap`.
    pub const fn new(initial: Duration, cap: Duration) -> Self {
        Self {
            initial,
            cap,
            failures: 0,
        }
    }

    /// The delay before the next attempt: between half and all of the doubled delay, so that many that failed at once do not come back at once.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let full = self
            .initial
            .checked_mul(factor)
            .unwrap_or(self.cap)
            .min(self.cap);
        self.failures = self.failures.saturating_add(1);
        full / 2 + (full / 2).mul_f64(fraction())
    }

    /// Waits for the next delay.
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }

    /// Says that an attempt succeeded: the next delay is the initial one.
    pub const fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many delays have been handed out since the last success. Log at warn when it is zero, at debug after.
    pub const fn failures(&self) -> u32 {
        self.failures
    }
}

/// A number from 0 to 1. Without randomness it is 1: the longest wait.
fn fraction() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX),
        Err(_unspecified) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delay_stays_between_half_the_initial_and_the_cap(initial in 1_u64..5_000, extra in 0_u64..100_000, attempts in 1_usize..80) {
            let initial = Duration::from_millis(initial);
            let cap = initial + Duration::from_millis(extra);
            let mut backoff = Backoff::new(initial, cap);
            for _ in 0..attempts {
                let delay = backoff.next_delay();
                prop_assert!(delay >= initial / 2 && delay <= cap);
            }
        }
    }

    #[test]
    fn delay_doubles_until_reset() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_mins(1));
        assert!(backoff.next_delay() <= Duration::from_secs(1));
        assert!(backoff.next_delay() >= Duration::from_secs(1));
        assert!(backoff.next_delay() >= Duration::from_secs(2));
        assert_eq!(backoff.failures(), 3);
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_secs(1));
    }
}
