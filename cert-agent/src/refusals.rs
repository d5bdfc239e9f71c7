//! The refusals this agent gave: kept for a while, logged once each, and fed to authz-service.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use daemon::clock::Clock;
use evidence::binding::{FeedItem, Refusal};
use identity::spiffe_id::SpiffeId;
use parking_lot::Mutex;
use tracing::warn;

mod allowance;

use allowance::Allowances;

use crate::{feed::Feed, metrics::Metrics, workload::Refused};

/// Every refusal goes through here, whoever gave it.
#[derive(Clone)]
pub struct Refusals {
    kept: Arc<Mutex<VecDeque<Kept>>>,
    allowances: Arc<Mutex<Allowances>>,
    node: SpiffeId,
    feed: Feed,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// One refusal as it is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// What was refused, and why.
    pub refused: Refused,
    /// When it was last given.
    pub at: SystemTime,
    /// When it was last logged and fed.
    told: SystemTime,
}

impl Refusals {
    /// Starts with none.
    pub fn new(node: SpiffeId, feed: Feed, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self {
            kept: Arc::default(),
            allowances: Arc::default(),
            node,
            feed,
            clock,
            metrics,
        }
    }

    /// Keeps one refusal. The same one again soon only renews its time: a client that retries every second floods nobody. Of a user who causes many
    /// different ones, some are counted only.
    pub fn keep(&self, refused: &Refused) {
        let at = self.clock.now();
        self.metrics
            .refusals
            .with(&[refused.reason.code()])
            .increment();
        if self.renewed(refused, at) {
            return;
        }
        if !self.allowances.lock().take(uid(refused), at) {
            self.metrics.refusals_not_kept.increment();
            return;
        }
        self.push(refused, at);
        warn!(
            reason = refused.reason.code(),
            detail = %refused.detail,
            workload = %refused.workload,
            wanted = refused.wanted.as_ref().map(tracing::field::display),
            digest = refused.digests.first().map(tracing::field::display),
            "no identity given"
        );
        self.feed
            .tell(vec![FeedItem::Refusal(self.refusal(refused, at))]);
    }

    /// Lists what is kept, the newest last.
    pub fn list(&self) -> Vec<Kept> {
        self.kept.lock().iter().cloned().collect()
    }

    /// Renews the time of this very refusal, if it was told lately.
    fn renewed(&self, refused: &Refused, at: SystemTime) -> bool {
        let mut kept = self.kept.lock();
        let lately = |one: &Kept| {
            is_same(&one.refused, refused)
                && at
                    .duration_since(one.told)
                    .is_ok_and(|since| since < TELL_AGAIN_AFTER)
        };
        let Some(one) = kept
            .iter()
            .position(lately)
            .and_then(|place| kept.remove(place))
        else {
            return false;
        };
        kept.push_back(Kept {
            refused: refused.clone(),
            at,
            told: one.told,
        });
        true
    }

    /// Keeps it as the newest, in place of the same one of earlier.
    fn push(&self, refused: &Refused, at: SystemTime) {
        let mut kept = self.kept.lock();
        kept.retain(|one| !is_same(&one.refused, refused));
        kept.push_back(Kept {
            refused: refused.clone(),
            at,
            told: at,
        });
        while kept.len() > MOST_KEPT {
            kept.pop_front();
        }
    }

    fn refusal(&self, refused: &Refused, at: SystemTime) -> Refusal {
        let Refused {
            reason,
            detail,
            workload,
            selectors: _,
            digests,
            grant,
            wanted,
        } = refused.clone();
        Refusal {
            wanted,
            node: self.node.clone(),
            workload,
            grant,
            digests,
            reason: reason.code().to_owned(),
            detail,
            at,
        }
    }
}

/// Who caused it, as far as that is known.
fn uid(refused: &Refused) -> Option<u32> {
    refused
        .selectors
        .iter()
        .find_map(|selector| selector.value_of("unix", "uid"))
        .and_then(|uid| uid.parse().ok())
}

/// The same program for the same reason is one refusal, whatever process it was: a loop that forks floods neither the list nor the feed.
fn is_same(one: &Refused, other: &Refused) -> bool {
    let about = |refused: &Refused| {
        (
            refused.reason,
            refused.grant.clone(),
            refused.selectors.clone(),
            refused.digests.clone(),
        )
    };
    about(one) == about(other)
}

impl std::fmt::Debug for Refusals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refusals")
            .field("kept", &self.kept.lock().len())
            .finish_non_exhaustive()
    }
}

/// Enough for every workload of a node and some attackers; a flood pushes out the oldest.
const MOST_KEPT: usize = 256;
/// A client that goes on asking is heard of once a minute.
const TELL_AGAIN_AFTER: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use daemon::{SystemClock, metrics::Registry};
    use evidence::digest::Digest;
    use policy::reason::Reason;

    use super::*;

    fn refusals() -> Refusals {
        let metrics = Metrics::new(&Registry::new());
        let node = SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap();
        Refusals::new(
            node,
            Feed::new(metrics.clone()),
            SystemClock::shared(),
            metrics,
        )
    }

    fn refused(workload: &str, program: usize) -> Refused {
        Refused::new(
            Reason::WorkloadNotIsolated,
            format!("{workload} is in no scope"),
        )
        .of(workload, Vec::new())
        .running([Digest::sha256_of(&program.to_be_bytes())])
    }

    #[test]
    fn program_that_forks_and_asks_is_kept_once_as_it_was_last_seen() {
        let refusals = refusals();
        refusals.keep(&refused("pid 1", 0));
        refusals.keep(&refused("pid 2", 1));
        refusals.keep(&refused("pid 3", 0));
        let kept: Vec<String> = refusals
            .list()
            .into_iter()
            .map(|kept| kept.refused.workload)
            .collect();
        assert_eq!(kept, ["pid 2", "pid 3"]);
        let counted = refusals.metrics.refusals.with(&["workload-not-isolated"]);
        assert_eq!(counted.value(), 3, "every one is counted");
    }

    #[test]
    fn oldest_refusals_are_forgotten() {
        let refusals = refusals();
        let of_its_own_user = |program: usize| {
            let uid = format!("unix:uid:{program}").parse().unwrap();
            refused("pid 1", program).of("pid 1", vec![uid])
        };
        for program in 0..=MOST_KEPT {
            refusals.keep(&of_its_own_user(program));
        }
        let kept = refusals.list();
        assert_eq!(kept.len(), MOST_KEPT);
        assert_eq!(kept[0].refused, of_its_own_user(1));
    }

    #[test]
    fn user_that_makes_up_refusals_does_not_push_out_those_of_others() {
        let refusals = refusals();
        let of = |uid: u32, program: usize| {
            let uid = format!("unix:uid:{uid}").parse().unwrap();
            refused("pid 1", program).of("pid 1", vec![uid])
        };
        refusals.keep(&of(1000, 0));
        for program in 1..=10 * MOST_KEPT {
            refusals.keep(&of(1001, program));
        }
        let kept = refusals.list();
        assert_eq!(kept[0].refused, of(1000, 0));
        assert!(kept.len() < MOST_KEPT, "{}", kept.len());
        let counted = refusals.metrics.refusals_not_kept.value();
        assert_eq!(
            usize::try_from(counted).unwrap() + kept.len(),
            10 * MOST_KEPT + 1
        );
    }
}
