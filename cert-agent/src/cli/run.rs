//! `cert-agent run` and `cert-agent check`.

use std::{path::Path, process::ExitCode};

use daemon::{
    SystemClock, chain,
    clock::Clock as _,
    telemetry::{self, TelemetryConfig},
};

use super::{EXIT_USAGE, say, tell, tell_all};
use crate::{
    app::{self, Agent, StartError, Surroundings},
    config::{Config, ConfigError},
    grants::Reserved,
    issuer::embedded_ca::directory::Directory,
    policy_directory,
};

/// Serves until stopped.
pub(super) fn run(file: &Path) -> ExitCode {
    if let Err(failure) = app::harden() {
        tell(&chain(&failure));
        return ExitCode::FAILURE;
    }
    let config = match Config::read(file) {
        Ok(config) => config,
        Err(errors) => return told(&errors),
    };
    match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(serve(config)),
        Err(error) => {
            tell(&format!("no runtime: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> ExitCode {
    let guard = match telemetry::init(&telemetry_config(&config)) {
        Ok(guard) => guard,
        Err(failure) => {
            tell(&chain(&failure));
            return ExitCode::FAILURE;
        }
    };
    let code = match start_and_finish(config).await {
        Ok(code) => code,
        Err(failure) => failed(&failure),
    };
    if let Err(failure) = guard.shutdown().await {
        tell(&chain(&failure));
    }
    code
}

async fn start_and_finish(config: Config) -> Result<ExitCode, StartError> {
    tracing::info!(?config, "effective configuration");
    let surroundings = Surroundings::of(&config);
    let running = Agent::bind(config, surroundings).await?.serve().await?;
    running
        .lifecycle()
        .stop_on_signals()
        .map_err(|source| StartError::Signals { source })?;
    Ok(running.finish().await.exit_code())
}

fn failed(failure: &StartError) -> ExitCode {
    if let StartError::Policy(policy) = failure {
        policy.lines().iter().for_each(|line| tell(line));
        return ExitCode::from(EXIT_USAGE);
    }
    tell(&chain(failure));
    ExitCode::FAILURE
}

/// Reads everything that `run` would read, and says what is wrong with all of it.
pub(super) fn check(file: &Path) -> ExitCode {
    if let Err(failure) = app::harden() {
        tell(&chain(&failure));
        return ExitCode::FAILURE;
    }
    let config = match Config::read(file) {
        Ok(config) => config,
        Err(errors) => return told(&errors),
    };
    let policy = check_policy(&config);
    let ca = check_ca(&config);
    if policy && ca {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_USAGE)
    }
}

fn check_policy(config: &Config) -> bool {
    let reserved = Reserved {
        trust_domain: config.trust_domain.clone(),
        infrastructure: config.infrastructure.clone(),
    };
    match policy_directory::check(&config.policy, &reserved) {
        Ok(grants) => {
            say(&format!(
                "policy {}: {} grants",
                grants.policy_hash(),
                grants.iter().count()
            ));
            true
        }
        Err(failure) => {
            failure.lines().iter().for_each(|line| tell(line));
            false
        }
    }
}

fn check_ca(config: &Config) -> bool {
    match Directory::at(&config.embedded_ca).load(&config.trust_domain, SystemClock.now()) {
        Ok(loaded) => {
            say(&format!("CA: intermediate {}", loaded.authority().serial));
            true
        }
        Err(failure) => {
            tell(&chain(&failure));
            false
        }
    }
}

fn told(errors: &[ConfigError]) -> ExitCode {
    tell_all(errors);
    ExitCode::from(EXIT_USAGE)
}

fn telemetry_config(config: &Config) -> TelemetryConfig {
    TelemetryConfig {
        service_name: "cert-agent",
        service_version: env!("CARGO_PKG_VERSION"),
        instance: config.node.clone(),
        log_format: config.log_format,
        log_filter: "info".to_owned(),
        otlp_endpoint: config.otlp.clone(),
    }
}
