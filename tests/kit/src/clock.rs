//! A clock that stands still until a test moves it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use daemon::clock::Clock;
use parking_lot::RwLock;

/// A clock that a test sets; clones show the same time.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<RwLock<SystemTime>>);

impl TestClock {
    /// Stands at `time`.
    pub fn at(time: SystemTime) -> Self {
        Self(Arc::new(RwLock::new(time)))
    }

    /// Moves it on.
    pub fn advance(&self, by: Duration) {
        *self.0.write() += by;
    }

    /// Sets it, also back.
    pub fn set(&self, time: SystemTime) {
        *self.0.write() = time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.read()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use daemon::clock::Clock as _;

    use super::TestClock;

    #[test]
    fn clones_show_the_same_time() {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH);
        let other = clock.clone();
        clock.advance(Duration::from_secs(5));
        assert_eq!(other.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(5));
    }
}
