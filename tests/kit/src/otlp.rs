//! An OTLP receiver that keeps the spans it is sent, for a test to look at.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A span as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Whose it is: `service.name`.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Hex.
    pub trace_id: String,
    /// Hex.
    pub span_id: String,
    /// Hex; empty for a root.
    pub parent_id: String,
}

/// A running receiver; it ends with this value.
#[derive(Debug)]
pub struct Receiver {
    spans: Spans,
    _server: JoinSet<()>,
}

impl Receiver {
    /// Listens.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub async fn listen(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let spans = Spans::default();
        let service = TraceServiceServer::new(spans.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let connections = TcpListenerStream::new(listener);
            drop(
                Server::builder()
                    .add_service(service)
                    .serve_with_incoming(connections)
                    .await,
            );
        });
        Ok(Self {
            spans,
            _server: server,
        })
    }

    /// Waits for a span that `wanted` takes.
    ///
    /// # Errors
    ///
    /// When none comes in time.
    pub async fn wait_for(
        &self,
        within: Duration,
        wanted: impl Fn(&Span) -> bool,
    ) -> anyhow::Result<Span> {
        let deadline = Instant::now() + within;
        loop {
            let found = self
                .spans
                .0
                .read()
                .iter()
                .find(|span| wanted(span))
                .cloned();
            if let Some(span) = found {
                return Ok(span);
            }
            ensure!(
                Instant::now() < deadline,
                "no such span within {within:?}; {} others came",
                self.spans.0.read().len()
            );
            sleep(LOOK).await;
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Spans(Arc<RwLock<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Spans {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.write();
        for resource in request.into_inner().resource_spans {
            let service = service_name(resource.resource.as_ref());
            for span in resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans)
            {
                if kept.len() < MAX_SPANS {
                    kept.push(Span {
                        service: service.clone(),
                        name: span.name,
                        trace_id: hex::encode(span.trace_id),
                        span_id: hex::encode(span.span_id),
                        parent_id: hex::encode(span.parent_span_id),
                    });
                }
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn service_name(resource: Option<&Resource>) -> String {
    let attributes = resource
        .map(|resource| resource.attributes.as_slice())
        .unwrap_or_default();
    let value = attributes
        .iter()
        .find(|attribute| attribute.key == "service.name")
        .and_then(|a| a.value.as_ref());
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        Some(_) | None => String::new(),
    }
}

/// More than any test makes.
const MAX_SPANS: usize = 100_000;
/// How often spans are looked for.
const LOOK: Duration = Duration::from_millis(50);
