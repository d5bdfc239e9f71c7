//! The record of one decision: all it was made of, given once to every sink.

mod draft;
pub mod log;
mod metric;
mod recorder;
mod span;
pub mod time;

use std::time::SystemTime;

use evidence::binding::Refusal;
use policy::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::decide::Step;
use crate::question::Question;

pub use draft::Draft;
pub(crate) use draft::unanswered;
pub use log::RecordLog;
pub use metric::{Metrics, PolicyState};
pub use recorder::Recorder;

/// One decision. The log line, the span, the counters and `explain` all read this value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DecisionRecord {
    /// Sorts by time and names the replica. First, so that a line is found by its beginning.
    pub id: String,
    /// When the request arrived.
    #[serde(with = "time")]
    pub at: SystemTime,
    /// Permit, deny, or nobody left to answer.
    pub decision: Conclusion,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The artifact reason beneath `requirement-unmet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Reason>,
    /// What was seen, for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The rule that permitted, refused, or whose requirement was not met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The path that the proxy was told to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// The snapshot that decided.
    pub generation: u64,
    /// The hash of the policy that decided.
    pub policy: String,
    /// Which proxy asked.
    pub proxy: String,
    /// What was decided on. Absent when the Check ended before there was a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// The request as the proxy sent it, when there is no question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestLine>,
    /// Each link of the chain and what became of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// What agents had said about the identity, when its binding broke the chain.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refusal>,
    /// The trace that the span is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// How long it took.
    pub micros: u64,
}

/// How a Check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// The request went on.
    Permit,
    /// The request ended here.
    Deny,
    /// The caller left before the answer.
    Cancelled,
}

impl Conclusion {
    /// The word used in records, spans and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Deny => "deny",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A request line, cut to what a record can hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestLine {
    /// The method.
    pub method: String,
    /// The host.
    pub host: String,
    /// The path.
    pub path: String,
}
