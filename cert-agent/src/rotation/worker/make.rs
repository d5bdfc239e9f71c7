//! The birth of a key: made, signed for, checked, and never anywhere else.

use std::{sync::Arc, time::Duration};

use daemon::chain;
use identity::private_key::PrivateKey;
use tokio::time::Instant;
use tracing::{info, warn};

use super::Worker;
use crate::{
    grants::Grant,
    handout::svid::Svid,
    issuer::{SigningRequest, check_chain},
};

impl Worker {
    /// Makes one key and SVID for each grant. One that the issuer refuses does not hold up the others.
    pub(super) async fn make(&mut self, grants: &[Arc<Grant>]) -> Vec<Arc<Svid>> {
        let mut made = Vec::new();
        let mut troubles = Vec::new();
        for grant in grants {
            match self.issue(grant).await {
                Ok(svid) => {
                    self.parts.metrics.svids.increment();
                    made.push(Arc::new(svid));
                }
                Err(trouble) => {
                    self.parts.metrics.issue_failures.increment();
                    troubles.push(trouble);
                }
            }
        }
        self.tell_trouble(troubles.into_iter().next());
        made
    }

    async fn issue(&self, grant: &Arc<Grant>) -> Result<Svid, String> {
        let key = PrivateKey::generate().map_err(|error| chain(&error))?;
        let terms = &grant.terms;
        let request = SigningRequest::new(
            terms.spiffe_id.clone(),
            terms.dns_names.clone(),
            terms.ttl,
            &key,
        )
        .map_err(|error| chain(&error))?;
        let signed = tokio::time::timeout(ISSUE_DEADLINE, self.parts.issuer.issue(&request))
            .await
            .map_err(|_elapsed| "the issuer did not answer in time".to_owned())?
            .map_err(|error| chain(&error))?;
        let authorities = Arc::clone(&self.parts.issuer.authorities().borrow());
        let leaf = check_chain(
            &signed,
            &request,
            &authorities.bundle,
            self.parts.clock.now(),
        )
        .map_err(|error| chain(&error))?;
        info!(workload = %self.workload.id, spiffe_id = %leaf.spiffe_id, serial = %leaf.serial, "SVID made");
        Ok(Svid::new(Arc::clone(grant), leaf, &signed, &key))
    }

    fn tell_trouble(&mut self, trouble: Option<String>) {
        if let Some(error) = &trouble {
            if self.troubled.as_ref() != Some(error) {
                warn!(workload = %self.workload.id, %error, "no SVID could be made; keeping the last good one until its end");
            }
            self.retry_at = Some(Instant::now() + self.backoff.next_delay());
        } else {
            self.backoff.reset();
            self.retry_at = None;
        }
        self.troubled = trouble;
    }
}

/// An issuer that hangs is one that is down.
const ISSUE_DEADLINE: Duration = Duration::from_secs(10);
