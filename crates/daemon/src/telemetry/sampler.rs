//! Owns which spans are kept: the parent's word, except that a denial is always kept.

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanKind, TraceContextExt as _, TraceId},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// The attribute by which a span says what was decided. Set it when the span is made, not later.
pub const DECISION: &str = "countersign.decision";

/// The value of [`DECISION`] that keeps a span whatever its parent says.
pub const DECISION_DENY: &str = "deny";

#[derive(Debug, Clone)]
pub(super) struct KeepDenials;

impl ShouldSample for KeepDenials {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        if attributes.iter().any(is_denial) {
            return SamplingResult {
                decision: SamplingDecision::RecordAndSample,
                attributes: Vec::new(),
                trace_state: parent
                    .map(|parent| parent.span().span_context().trace_state().clone())
                    .unwrap_or_default(),
            };
        }
        let by_parent = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        by_parent.should_sample(parent, trace_id, name, kind, attributes, links)
    }
}

fn is_denial(attribute: &KeyValue) -> bool {
    attribute.key.as_str() == DECISION && attribute.value.as_str() == DECISION_DENY
}
