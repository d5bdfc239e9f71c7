//! Every metric of this program.

use std::time::Duration;

use daemon::metrics::{Counter, Family, Gauge, Histogram, Registry};
use policy::reason::Reason;

use super::DecisionRecord;

/// The instruments, made once from the registry that is served.
#[derive(Clone, Debug)]
pub struct Metrics {
    decisions: Family<Counter>,
    durations: Family<Histogram>,
    records_lost: Gauge,
    policy_broken: Gauge,
    generation: Gauge,
    bindings: Gauge,
    feed_refused: Family<Counter>,
    dangers: Gauge,
}

impl Metrics {
    /// The instruments, registered for `/metrics`.
    pub fn new(registry: &Registry) -> Self {
        Self {
            decisions: registry.counters(
                "countersign_authz_decisions_total",
                "Checks, by decision, reason and rule.",
                &["decision", "reason", "rule"],
            ),
            durations: registry.latencies(
                "countersign_authz_check_seconds",
                "Time from a Check's arrival to its decision.",
                &["decision"],
            ),
            records_lost: registry.gauge(
                "countersign_authz_records_lost",
                "Records that never reached the record file.",
            ),
            policy_broken: registry.gauge(
                "countersign_authz_policy_broken",
                "1 while the policy directory does not compile and the last good policy decides.",
            ),
            generation: registry.gauge(
                "countersign_authz_generation",
                "Generation of the snapshot that decides.",
            ),
            bindings: registry.gauge("countersign_authz_bindings", "Bindings held."),
            feed_refused: registry.counters(
                "countersign_authz_feed_refused_total",
                "Streams and statements of agents that were refused, by cause.",
                &["cause"],
            ),
            dangers: registry.gauge(
                "countersign_authz_dangers",
                "Settings in force that weaken a check.",
            ),
        }
    }

    /// Counts one decision.
    pub(super) fn decided(&self, record: &DecisionRecord) {
        let reason = record.reason.map_or("", Reason::code);
        let rule = record.rule.as_deref().unwrap_or_default();
        self.decisions
            .with(&[record.decision.as_str(), reason, rule])
            .increment();
        self.durations
            .with(&[record.decision.as_str()])
            .observe(Duration::from_micros(record.micros));
    }

    /// Says how many records were lost.
    pub(super) fn records_lost(&self, lost: u64) {
        self.records_lost.set(clamped(lost));
    }

    /// Says whether the policy directory compiles.
    pub fn policy(&self, state: PolicyState) {
        self.policy_broken.set(match state {
            PolicyState::Good => 0,
            PolicyState::Broken => 1,
        });
    }

    /// Says which view decides.
    pub fn published(&self, generation: u64, bindings: usize) {
        self.generation.set(clamped(generation));
        self.bindings
            .set(i64::try_from(bindings).unwrap_or(i64::MAX));
    }

    /// Counts a stream or a statement of an agent that was refused.
    pub fn feed_refused(&self, cause: &'static str) {
        self.feed_refused.with(&[cause]).increment();
    }

    /// Says how many settings weaken a check.
    pub fn dangers(&self, count: usize) {
        self.dangers.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

/// Whether the policy directory gives a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyState {
    /// It compiles, and is in force.
    Good,
    /// It does not, and the last good one is in force.
    Broken,
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
