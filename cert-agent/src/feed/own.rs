//! The agent's own SVID: made at start, renewed at half-life and whenever the issuer's authorities change.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use daemon::{Backoff, chain, clock::Clock};
use identity::{private_key::PrivateKey, spiffe_id::SpiffeId, x509_svid::Leaf};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Feed;
use crate::{
    issuer::{IssueError, Issuer, SigningRequest, check_chain},
    rotation::{
        draw,
        plan::{Next, Plan},
    },
};

/// The agent's identity at one moment. Its key is in memory only.
#[derive(Debug)]
pub struct OwnSvid {
    /// What the certificate says.
    pub leaf: Leaf,
    /// The certificates, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key that signs batches.
    pub key: PrivateKey,
}

/// The one who keeps it fresh.
pub struct OwnIdentity {
    id: SpiffeId,
    issuer: Arc<dyn Issuer>,
    feed: Feed,
    clock: Arc<dyn Clock>,
    plan: Plan,
    svid: watch::Sender<Arc<OwnSvid>>,
}

impl OwnIdentity {
    /// Makes the first SVID.
    ///
    /// # Errors
    /// The issuer does not give one: then it would give none to a workload either.
    pub async fn new(
        id: SpiffeId,
        issuer: Arc<dyn Issuer>,
        feed: Feed,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, IssueError> {
        let svid = issue(&id, issuer.as_ref(), clock.now()).await?;
        feed.own_ends(svid.leaf.not_after);
        let plan = plan(&svid);
        Ok(Self {
            id,
            issuer,
            feed,
            clock,
            plan,
            svid: watch::Sender::new(Arc::new(svid)),
        })
    }

    /// The SVID, now and after every renewal.
    pub fn svid(&self) -> watch::Receiver<Arc<OwnSvid>> {
        self.svid.subscribe()
    }

    /// Keeps it fresh until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut authorities = self.issuer.authorities();
        let mut backoff = Backoff::new(RETRY, RETRY_CAP);
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                changed = authorities.changed() => {
                    if changed.is_err() {
                        return stop.cancelled().await;
                    }
                    self.renew(&mut backoff).await;
                }
                () = tokio::time::sleep(LOOK) => self.look(&mut backoff).await,
            }
        }
    }

    async fn look(&mut self, backoff: &mut Backoff) {
        match self.plan.at(self.clock.now()) {
            Next::Wait(_) => {}
            Next::Renew | Next::Over => self.renew(backoff).await,
        }
    }

    async fn renew(&mut self, backoff: &mut Backoff) {
        match issue(&self.id, self.issuer.as_ref(), self.clock.now()).await {
            Ok(svid) => {
                backoff.reset();
                info!(serial = %svid.leaf.serial, "the agent's own SVID is renewed");
                self.plan = plan(&svid);
                self.feed.own_ends(svid.leaf.not_after);
                self.svid.send_replace(Arc::new(svid));
            }
            Err(failure) => {
                if backoff.failures() == 0 {
                    warn!(error = %chain(&failure), "the agent's own SVID cannot be renewed; keeping the last good one");
                }
                backoff.wait().await;
            }
        }
    }
}

impl std::fmt::Debug for OwnIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnIdentity")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

async fn issue(id: &SpiffeId, issuer: &dyn Issuer, now: SystemTime) -> Result<OwnSvid, IssueError> {
    let unusable = |error: identity::private_key::KeyError| IssueError::Unavailable {
        detail: error.to_string(),
    };
    let key = PrivateKey::generate().map_err(unusable)?;
    let request = SigningRequest::new(id.clone(), Vec::new(), LIFETIME, &key).map_err(unusable)?;
    let chain = issuer.issue(&request).await?;
    let authorities = Arc::clone(&issuer.authorities().borrow());
    let leaf = check_chain(&chain, &request, &authorities.bundle, now)?;
    Ok(OwnSvid { leaf, chain, key })
}

fn plan(svid: &OwnSvid) -> Plan {
    Plan::of(svid.leaf.not_before, svid.leaf.not_after, draw())
}

/// As long as the intermediate lives, whose key is on this machine for as long: a binding may not end after the agent's own chain.
const LIFETIME: Duration = Duration::from_hours(7 * 24);
/// How often the plan is looked at.
const LOOK: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(30);
