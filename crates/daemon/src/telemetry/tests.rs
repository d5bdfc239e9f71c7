use opentelemetry::{
    Context,
    trace::{
        SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        Tracer as _,
    },
};
use opentelemetry_sdk::trace::InMemorySpanExporter;

use super::*;

fn config() -> TelemetryConfig {
    TelemetryConfig {
        service_name: "authz-service",
        service_version: "0.0.0",
        instance: "authz-1".to_owned(),
        log_format: LogFormat::Json,
        log_filter: "info".to_owned(),
        otlp_endpoint: None,
    }
}

fn unsampled_parent() -> Context {
    let parent = SpanContext::new(
        TraceId::from_bytes([1; 16]),
        SpanId::from_bytes([2; 8]),
        TraceFlags::default(),
        true,
        TraceState::default(),
    );
    Context::new().with_remote_span_context(parent)
}

fn exported(attributes: Vec<KeyValue>) -> usize {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler::KeepDenials)
        .with_simple_exporter(exporter.clone())
        .build();
    let tracer = provider.tracer("check");
    let builder = tracer
        .span_builder("check")
        .with_kind(SpanKind::Server)
        .with_attributes(attributes);
    drop(tracer.build_with_context(builder, &unsampled_parent()));
    exporter.get_finished_spans().unwrap().len()
}

#[test]
fn denial_is_kept_against_the_parents_word() {
    assert_eq!(exported(vec![KeyValue::new(DECISION, DECISION_DENY)]), 1);
}

#[test]
fn permit_follows_the_parents_word() {
    assert_eq!(exported(vec![KeyValue::new(DECISION, "permit")]), 0);
}

#[test]
fn filter_that_does_not_parse_is_refused() {
    let config = TelemetryConfig {
        log_filter: "daemon=loudly".to_owned(),
        ..config()
    };
    assert!(matches!(init(&config), Err(TelemetryError::Filter { .. })));
}

#[tokio::test]
async fn endpoint_that_does_not_parse_is_refused() {
    let config = TelemetryConfig {
        otlp_endpoint: Some("not an address".to_owned()),
        ..config()
    };
    assert!(matches!(
        init(&config),
        Err(TelemetryError::Endpoint { .. })
    ));
}

#[test]
fn telemetry_starts_once_changes_its_filter_and_flushes() {
    let guard = init(&config()).unwrap();
    assert!(matches!(
        init(&config()),
        Err(TelemetryError::AlreadyStarted { .. })
    ));
    guard.set_log_filter("debug").unwrap();
    assert!(matches!(
        guard.set_log_filter("daemon=loudly"),
        Err(TelemetryError::Filter { .. })
    ));
    guard.shutdown().unwrap();
}
