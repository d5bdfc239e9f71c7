//! Owns how long a connection may live: never beyond its peer's certificate, its age limit, or the trust in its peer.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls_pki_types::CertificateDer;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::server::{Current, HotServerConfig};
use crate::{Clock, chain};

/// How long before its end a connection should take no new requests.
pub(super) const RETIRE_BEFORE: Duration = Duration::from_secs(10);

/// How often the wall clock is read: a clock that was stepped or a machine that slept is noticed this soon.
const CLOCK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest sleep, so that the last instant of a certificate is no busy loop.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum End {
    #[error("the peer's certificate has expired")]
    Expired,
    #[error("the connection is too old")]
    Aged,
    #[error("the peer is no longer trusted")]
    Distrusted,
}

/// What ends one connection.
pub(super) struct Lifetime {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) not_after: SystemTime,
    pub(super) max_age: Duration,
    pub(super) retire: CancellationToken,
    /// Only a server's trust changes while a connection lives; a client makes its connections anew.
    pub(super) trust: Option<Trust>,
}

impl Lifetime {
    /// Waits for the end, and announces it through `retire`.
    pub(super) async fn end(self) -> End {
        let born = Instant::now();
        let clock_end = async {
            loop {
                match self.left(born) {
                    Ok(left) => sleep(left.min(CLOCK_INTERVAL).max(SHORTEST_SLEEP)).await,
                    Err(end) => return end,
                }
            }
        };
        let distrusted = async {
            match &self.trust {
                Some(trust) => trust.lost(&self.clock).await,
                None => pending().await,
            }
        };
        tokio::select! {
            end = clock_end => end,
            () = distrusted => End::Distrusted,
        }
    }

    fn left(&self, born: Instant) -> Result<Duration, End> {
        let valid = self
            .not_after
            .duration_since(self.clock.now())
            .map_err(|_past| End::Expired)?;
        let young = self.max_age.checked_sub(born.elapsed()).ok_or(End::Aged)?;
        let left = valid.min(young);
        if left <= RETIRE_BEFORE {
            self.retire.cancel();
            return Ok(left);
        }
        // Wakes when it is time to retire.
        Ok(left.saturating_sub(RETIRE_BEFORE))
    }
}

/// The peer's chain, to be judged again by every new configuration of the server.
pub(super) struct Trust {
    pub(super) leaf: CertificateDer<'static>,
    pub(super) intermediates: Vec<CertificateDer<'static>>,
    pub(super) hot: Arc<HotServerConfig>,
    /// The configuration by which the peer was judged in the handshake.
    pub(super) judged: Arc<Current>,
}

impl Trust {
    async fn lost(&self, clock: &Arc<dyn Clock>) {
        let mut configurations = self.hot.subscribe();
        let mut judged = Arc::clone(&self.judged);
        loop {
            let current = Arc::clone(&configurations.borrow_and_update());
            if !Arc::ptr_eq(&current, &judged) {
                if let Err(refused) =
                    current
                        .verifier
                        .check(&self.leaf, &self.intermediates, clock.now())
                {
                    info!(error = %chain(&refused), "a connection lost its trust");
                    return;
                }
                judged = current;
            }
            // The sender lives in `hot`, which we hold.
            if configurations.changed().await.is_err() {
                return;
            }
        }
    }
}
