use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry::{
    Context,
    trace::{
        SpanContext, SpanId, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        Tracer as _,
    },
};
use opentelemetry_sdk::trace::InMemorySpanExporter;
use tokio::net::TcpListener;

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

#[tokio::test]
async fn telemetry_starts_once_changes_its_filter_and_flushes_every_span() {
    let (address, exports) = receiver().await;
    let config = TelemetryConfig {
        otlp_endpoint: Some(format!("http://{address}")),
        ..config()
    };
    let guard = init(&config).unwrap();
    assert!(matches!(
        init(&config),
        Err(TelemetryError::AlreadyStarted { .. })
    ));
    guard.set_log_filter("error").unwrap();
    assert!(matches!(
        guard.set_log_filter("daemon=loudly"),
        Err(TelemetryError::Filter { .. })
    ));
    drop(guard.tracer("check").start("check"));
    guard.shutdown().await.unwrap();
    assert_eq!(exports.load(Ordering::SeqCst), 1);
}

/// A receiver of traces that counts and acknowledges what it is sent.
async fn receiver() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let exports = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&exports);
    tokio::runtime::Handle::current().spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(move |request: Request<Incoming>| {
            assert!(request.uri().path().ends_with("TraceService/Export"));
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                request.into_body().collect().await.unwrap();
                Ok::<_, Infallible>(acknowledged())
            }
        });
        drop(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await,
        );
    });
    (address, exports)
}

/// gRPC's answer of an empty message.
fn acknowledged() -> Response<impl Body<Data = Bytes, Error = Infallible>> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Ok(Frame::data(Bytes::from_static(&[0; 5]))),
        Ok(Frame::trailers(trailers)),
    ];
    Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(futures_util::stream::iter(frames)))
        .unwrap()
}
