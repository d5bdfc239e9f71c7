//! What component tests build their worlds from: a PKI, a registry, an agent, a proxy, and the service itself.

pub mod agent;
pub mod pki;
pub mod proxy;
pub mod registry;
pub mod workload_api;
pub mod world;

use std::time::{Duration, SystemTime};

use daemon::clock::{Clock as _, SystemClock};
use tokio::time::{Instant, sleep};

/// The wall time that the service under test reads too.
pub fn now() -> SystemTime {
    SystemClock.now()
}

/// Waits until `holds`, for at most ten seconds.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < end, "never: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
