//! `run` and `check`: the service itself, and its configuration without it.

use std::process::ExitCode;
use std::time::Duration;

use daemon::telemetry::{self, TelemetryConfig};
use daemon::{Lifecycle, SystemClock};
use policy::compile::compile;
use policy::source::PolicySource;
use tracing::{error, info};

use super::{BAD_INPUT, ConfigArgs, complain, say};
use crate::app::{self, App, Parts};
use crate::config::Config;

/// `authz-service run`
pub(super) fn run(args: &ConfigArgs) -> ExitCode {
    let config = match load(args) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("background")
        .build()
    {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => {
            complain(&format!("no runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `authz-service check`
pub(super) fn check(args: &ConfigArgs) -> ExitCode {
    let config = match load(args) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let contents = match daemon::watch_dir::read_directory(
        &config.policy,
        daemon::watch_dir::Limits::default(),
    ) {
        Ok(contents) => contents,
        Err(error) => return bad_input(&daemon::chain(&error)),
    };
    match compile(&PolicySource {
        files: contents.into_files(),
    }) {
        Ok(policy) => {
            say(&format!(
                "configuration and policy are good; policy {}",
                policy.hash()
            ));
            ExitCode::SUCCESS
        }
        Err(errors) => bad_input(&errors.to_string()),
    }
}

async fn serve(config: Config) -> ExitCode {
    let telemetry = TelemetryConfig {
        service_name: "authz-service",
        service_version: env!("CARGO_PKG_VERSION"),
        instance: config.replica.clone(),
        log_format: config.log_format,
        log_filter: LOG_FILTER.to_owned(),
        otlp_endpoint: config.otlp_endpoint(),
    };
    let telemetry = match telemetry::init(&telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return bad_input(&daemon::chain(&error)),
    };
    let tracer = telemetry.tracer("authz-service");
    let exit = lived(config, tracer).await;
    if let Err(error) = telemetry.shutdown().await {
        complain(&daemon::chain(&error));
    }
    exit
}

/// From start to end, whatever the end.
async fn lived(config: Config, tracer: opentelemetry_sdk::trace::SdkTracer) -> ExitCode {
    // Our own key is in memory.
    if let Err(errno) = nix::sys::prctl::set_dumpable(false) {
        complain(&format!("the process cannot be made undumpable: {errno}"));
        return ExitCode::FAILURE;
    }
    let lifecycle = Lifecycle::new();
    if let Err(error) = lifecycle.stop_on_signals() {
        complain(&format!("signals cannot be heard: {error}"));
        return ExitCode::FAILURE;
    }
    info!(?config, "effective configuration");
    let parts = Parts {
        config,
        clock: SystemClock::shared(),
        tracer,
        lifecycle: lifecycle.clone(),
    };
    let app: App = match app::start(parts).await {
        Ok(app) => app,
        Err(error) => {
            error!(error = %daemon::chain(&error), "not started");
            lifecycle.stop();
            lifecycle.drain(DRAIN).await;
            return if error.is_bad_input() {
                bad_input(&daemon::chain(&error))
            } else {
                ExitCode::FAILURE
            };
        }
    };
    let outcome = lifecycle.drain(DRAIN).await;
    app.close().await;
    info!(?outcome, "stopped");
    outcome.exit_code()
}

fn load(args: &ConfigArgs) -> Result<Config, ExitCode> {
    match Config::load(&args.config) {
        Ok(mut config) => {
            if let Some(policy) = &args.policy {
                config.policy.clone_from(policy);
            }
            Ok(config)
        }
        Err(errors) => Err(bad_input(&errors.to_string())),
    }
}

/// Every line names its place.
fn bad_input(message: &str) -> ExitCode {
    for line in message.lines() {
        complain(line);
    }
    ExitCode::from(BAD_INPUT)
}

/// What is logged. The Check path logs nothing.
const LOG_FILTER: &str = "info";

/// 20 s // in-flight Checks end within their own deadlines; Kubernetes kills after 30 s.
const DRAIN: Duration = Duration::from_secs(20);
