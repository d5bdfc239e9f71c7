//! The numbers of this program.

use daemon::metrics::{Counter, Family, Gauge, Registry};

/// Every instrument, made once from one registry.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Refusals, by reason.
    pub refusals: Family<Counter>,
    /// Refusals that were counted only: one user gave cause for too many.
    pub refusals_not_kept: Counter,
    /// Connections that were closed at once: of their user, or of all, there were too many.
    pub connections_refused: Counter,
    /// What no replica can be told, because no batch can hold it.
    pub feed_dropped: Counter,
    /// SVIDs made for workloads.
    pub svids: Counter,
    /// SVIDs that the issuer did not give.
    pub issue_failures: Counter,
    /// 1 while the policy directory is broken and the last good one is in force.
    pub policy_broken: Gauge,
    /// SVIDs handed over before every connected replica had their binding.
    pub feed_late: Counter,
    /// Replicas that hold our whole state.
    pub replicas_synced: Gauge,
    /// Seconds until the intermediate ends.
    pub intermediate_left: Gauge,
}

impl Metrics {
    /// Registers every instrument.
    pub fn new(registry: &Registry) -> Self {
        Self {
            refusals: registry.counters(
                "countersign_agent_refusals_total",
                "Identities refused, by reason.",
                &["reason"],
            ),
            refusals_not_kept: registry.counter(
                "countersign_agent_refusals_not_kept_total",
                "Refusals counted only, because one user caused too many.",
            ),
            connections_refused: registry.counter(
                "countersign_agent_connections_refused_total",
                "Connections closed at once, because there were too many.",
            ),
            feed_dropped: registry.counter(
                "countersign_agent_feed_dropped_total",
                "Items that no batch of the feed can hold.",
            ),
            svids: registry.counter("countersign_agent_svids_total", "SVIDs made for workloads."),
            issue_failures: registry.counter(
                "countersign_agent_issue_failures_total",
                "SVIDs that the issuer did not give.",
            ),
            policy_broken: registry.gauge(
                "countersign_agent_policy_broken",
                "1 while the last good policy stands in for a broken directory.",
            ),
            feed_late: registry.counter(
                "countersign_agent_feed_late_total",
                "SVIDs handed over before every connected replica had their binding.",
            ),
            replicas_synced: registry.gauge(
                "countersign_agent_replicas_synced",
                "Replicas that hold the agent's whole state.",
            ),
            intermediate_left: registry.gauge(
                "countersign_agent_intermediate_left_seconds",
                "Seconds until the embedded CA's intermediate ends.",
            ),
        }
    }
}
