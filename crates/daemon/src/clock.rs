//! Owns the reading of wall time: the only place that asks the system.

use std::{fmt::Debug, sync::Arc, time::SystemTime};

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;

/// Where the time comes from. Tests have a clock of their own.
pub trait Clock: Debug + Send + Sync {
    /// The wall time.
    fn now(&self) -> SystemTime;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The system's clock in the form that the programs pass on.
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one source of wall time that the ban points to"
    )]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Our clock as rustls asks for it.
#[derive(Debug)]
pub(crate) struct TlsClock(pub(crate) Arc<dyn Clock>);

impl TimeProvider for TlsClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since_epoch = self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(UnixTime::since_unix_epoch(since_epoch))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Owns a clock that stands still until it is told.

    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use parking_lot::RwLock;

    use super::Clock;

    #[derive(Debug, Clone)]
    pub(crate) struct HandClock(Arc<RwLock<SystemTime>>);

    impl HandClock {
        pub(crate) fn at(now: SystemTime) -> Self {
            Self(Arc::new(RwLock::new(now)))
        }

        pub(crate) fn advance(&self, by: Duration) {
            *self.0.write() += by;
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> SystemTime {
            *self.0.read()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_clock_reads_a_time_after_this_was_written() {
        let written = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        assert!(SystemClock.now() > written);
    }

    #[test]
    fn clock_before_the_epoch_has_no_tls_time() {
        let before = SystemTime::UNIX_EPOCH - std::time::Duration::from_secs(1);
        assert!(
            TlsClock(Arc::new(testing::HandClock::at(before)))
                .current_time()
                .is_none()
        );
    }
}
