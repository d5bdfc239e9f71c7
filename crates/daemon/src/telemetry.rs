//! Owns telemetry: the log's format and filter, the export of spans, and their flush at the end.
//!
//! Events go through `tracing` to standard error. Spans of the Check path are made by hand from
//! [`TelemetryGuard::tracer`], since a `tracing` span costs more than the decision it describes.

mod sampler;

use std::time::Duration;

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkError,
    trace::{SdkTracer, SdkTracerProvider},
};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::ParseError, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

pub use self::sampler::{DECISION, DECISION_DENY};

/// How long the last spans may take to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a program says about itself, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// `service.name` of the program's spans.
    pub service_name: &'static str,
    /// `service.version` of the program's spans.
    pub service_version: &'static str,
    /// `service.instance.id` of the program's spans: the replica or the node.
    pub instance: String,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Which log lines are written, such as `info` or `info,daemon=debug`.
    pub log_filter: String,
    /// The OTLP receiver for spans, such as `http://127.0.0.1:4317`; without one no span is exported.
    pub otlp_endpoint: Option<String>,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    #[default]
    Json,
    /// Text, for people.
    Text,
}

/// Starts telemetry. Call it once, inside the runtime that exports.
///
/// # Errors
/// The filter or the endpoint does not parse, or telemetry was started before.
pub fn init(config: &TelemetryConfig) -> Result<TelemetryGuard, TelemetryError> {
    let filter = filter(&config.log_filter)?;
    let provider = provider(config)?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|source| TelemetryError::AlreadyStarted { source })?;
    Ok(TelemetryGuard {
        provider,
        filter: handle,
    })
}

/// Running telemetry. End it with [`TelemetryGuard::shutdown`].
#[derive(Debug)]
pub struct TelemetryGuard {
    provider: SdkTracerProvider,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl TelemetryGuard {
    /// Makes spans in the name of `scope`. Without an endpoint they are dropped at once.
    pub fn tracer(&self, scope: &'static str) -> SdkTracer {
        self.provider.tracer(scope)
    }

    /// The provider behind [`TelemetryGuard::tracer`].
    pub const fn tracer_provider(&self) -> &SdkTracerProvider {
        &self.provider
    }

    /// Replaces the log filter while the program runs.
    ///
    /// # Errors
    /// The filter does not parse; the old one stays.
    pub fn set_log_filter(&self, text: &str) -> Result<(), TelemetryError> {
        let filter = filter(text)?;
        self.filter
            .reload(filter)
            .map_err(|source| TelemetryError::Reload { source })
    }

    /// Flushes what is left and ends the export.
    ///
    /// # Errors
    /// The receiver did not take the last spans in time.
    pub async fn shutdown(self) -> Result<(), TelemetryError> {
        // The flush blocks its thread, and the export needs the runtime's.
        let flush = spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        flush
            .await
            .unwrap_or_else(|ended| Err(OTelSdkError::InternalFailure(ended.to_string())))
            .map_err(|source| TelemetryError::Flush { source })
    }
}

/// Telemetry could not be started, changed or flushed.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter does not parse.
    #[error("log filter `{filter}` is not valid")]
    Filter {
        /// The filter.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// The receiver's address does not parse.
    #[error("OTLP endpoint `{endpoint}` is not valid")]
    Endpoint {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Telemetry was started before.
    #[error("telemetry was started twice")]
    AlreadyStarted {
        /// What the subscriber says.
        #[source]
        source: tracing_subscriber::util::TryInitError,
    },
    /// The log filter could not be replaced.
    #[error("the log filter could not be replaced")]
    Reload {
        /// What failed.
        #[source]
        source: reload::Error,
    },
    /// The last spans did not leave in time.
    #[error("the last spans could not be flushed")]
    Flush {
        /// What failed.
        #[source]
        source: OTelSdkError,
    },
}

fn filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|source| TelemetryError::Filter {
            filter: text.to_owned(),
            source,
        })
}

fn provider(config: &TelemetryConfig) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder_empty()
        .with_attributes([
            KeyValue::new("service.name", config.service_name),
            KeyValue::new("service.version", config.service_version),
            KeyValue::new("service.instance.id", config.instance.clone()),
        ])
        .build();
    let builder = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_sampler(sampler::KeepDenials);
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok(builder.build());
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .map_err(|source| TelemetryError::Endpoint {
            endpoint: endpoint.clone(),
            source,
        })?;
    Ok(builder.with_batch_exporter(exporter).build())
}

#[cfg(test)]
mod tests;
