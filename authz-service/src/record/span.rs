//! The OpenTelemetry span of one Check, made by hand as a child of the proxy's own span.

use std::time::SystemTime;

use daemon::telemetry::{DECISION, DECISION_DENY};
use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::{Conclusion, DecisionRecord};
use crate::question::Question;
use crate::target::Target;

/// The name of the span.
const SPAN: &str = "check";

/// Makes and ends the span. Returns the trace that it is part of.
///
/// Built after the decision, with the start time of the request, so that a sampler sees what was decided.
pub(super) fn write(
    tracer: &SdkTracer,
    record: &DecisionRecord,
    traceparent: Option<&str>,
    ended: SystemTime,
) -> Option<String> {
    let parent = traceparent.and_then(parse_traceparent);
    let context = parent.map_or_else(Context::new, |parent| {
        Context::new().with_remote_span_context(parent)
    });
    let mut span = tracer
        .span_builder(SPAN)
        .with_kind(SpanKind::Server)
        .with_start_time(record.at)
        .with_attributes(attributes(record))
        .start_with_context(tracer, &context);
    if record.decision == Conclusion::Deny {
        span.set_status(Status::error(
            record.reason.map_or("", policy::reason::Reason::code),
        ));
    }
    let trace = span.span_context().trace_id();
    span.end_with_timestamp(ended);
    (trace != TraceId::INVALID).then(|| trace.to_string())
}

fn attributes(record: &DecisionRecord) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("countersign.decision_id", record.id.clone()),
        KeyValue::new(DECISION, decision(record.decision)),
        KeyValue::new(
            "countersign.generation",
            i64::try_from(record.generation).unwrap_or(i64::MAX),
        ),
    ];
    if let Some(reason) = record.reason {
        attributes.push(KeyValue::new("countersign.reason", reason.code()));
    }
    if let Some(cause) = record.cause {
        attributes.push(KeyValue::new("countersign.cause", cause.code()));
    }
    if let Some(rule) = &record.rule {
        attributes.push(KeyValue::new("countersign.rule", rule.clone()));
    }
    if let Some(pinned) = &record.pinned {
        attributes.push(KeyValue::new("countersign.pinned", pinned.clone()));
    }
    if let Some(question) = &record.question {
        question_attributes(question, &mut attributes);
    }
    attributes
}

/// A denial is said in the word by which the sampler keeps it.
const fn decision(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Deny => DECISION_DENY,
        Conclusion::Permit | Conclusion::Cancelled => conclusion.as_str(),
    }
}

fn question_attributes(question: &Question, attributes: &mut Vec<KeyValue>) {
    if let Some(caller) = question.caller.known() {
        attributes.push(KeyValue::new(
            "countersign.caller",
            caller.spiffe_id.to_string(),
        ));
    }
    let kind = question.target.known().map(|target| match target {
        Target::Registry(_) => "registry",
        Target::Service(_) => "service",
    });
    if let Some(kind) = kind {
        attributes.push(KeyValue::new("countersign.target", kind));
    }
}

/// Reads W3C `traceparent`, version 00. Anything else is no parent.
fn parse_traceparent(text: &str) -> Option<SpanContext> {
    // SPEC(W3C Trace Context §3.2): 00-<32 hex>-<16 hex>-<2 hex>
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let sizes = (version, trace.len(), span.len(), flags.len(), parts.next());
    if sizes != ("00", 32, 16, 2, None) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_of_envoy_is_read() {
        let parent =
            parse_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(
            parent.trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        assert_eq!(parent.span_id().to_string(), "b7ad6b7169203331");
        assert!(parent.is_sampled() && parent.is_remote());
    }

    #[test]
    fn malformed_traceparent_is_no_parent() {
        let malformed = [
            "",
            "00",
            "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-zaf7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-zz",
        ];
        for text in malformed {
            assert!(parse_traceparent(text).is_none(), "{text}");
        }
    }
}
