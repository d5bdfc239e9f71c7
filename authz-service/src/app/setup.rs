//! What is made from the configuration before anything is bound.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use artifact::{Closures, KeptEvidence, PlainHttp, Registries, RegistryConfig, Voucher};
use daemon::Lifecycle;
use tracing::warn;

use super::StartError;
use crate::config::{Config, Registry};
use crate::pull::Puller;
use crate::record::Metrics;

/// Names every setting that weakens a check, at every start.
pub(super) fn warn_of_dangers(config: &Config, metrics: &Metrics) {
    let dangers = config.dangers();
    metrics.dangers(dangers.len());
    for danger in dangers {
        warn!(danger, "a setting weakens a check");
    }
}

/// Makes our own directories where they are missing: sockets to be reached by others, state for us alone.
pub(super) fn directories(config: &Config) -> Result<(), StartError> {
    directory(&config.runtime, 0o755)?;
    directory(&config.state, 0o700)
}

fn directory(path: &Path, mode: u32) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| StartError::Directory {
            directory: path.to_owned(),
            source,
        })
}

/// The puller, with its tasks running to the very end: Checks in flight need them while the program drains.
pub(super) fn puller(
    config: &Config,
    closures: &Arc<Closures>,
    lifecycle: &Lifecycle,
) -> Result<Puller, StartError> {
    let configs = config
        .registries
        .iter()
        .map(registry)
        .collect::<Result<Vec<_>, _>>()?;
    let registries = Registries::new(configs).map_err(StartError::Registry)?;
    let (voucher, vouching) = Voucher::new(registries.clone(), kept_evidence(&config.state));
    lifecycle.spawn_to_the_end("vouch", vouching.run(std::future::pending()));
    let (puller, pulling) = Puller::new(registries, voucher, Arc::clone(closures));
    lifecycle.spawn_to_the_end("pull", pulling.run());
    Ok(puller)
}

fn registry(registry: &Registry) -> Result<RegistryConfig, StartError> {
    let Registry {
        host,
        endpoint,
        ca_file,
    } = registry;
    let read = |file: &std::path::PathBuf| {
        std::fs::read(file).map_err(|source| StartError::RegistryRoots {
            file: file.clone(),
            source,
        })
    };
    Ok(RegistryConfig {
        host: host.clone(),
        endpoint: endpoint.clone(),
        ca_pem: ca_file.as_ref().map(read).transpose()?,
        // The configuration refuses plain HTTP unless it says `dangerPlainHttp`.
        plain_http: if endpoint.scheme() == "http" {
            PlainHttp::DangerAllow
        } else {
            PlainHttp::Refuse
        },
    })
}

/// Evidence that verified before, for when the registry is down. Without it we start all the same.
fn kept_evidence(state: &Path) -> Option<KeptEvidence> {
    KeptEvidence::open(state.join("evidence"))
        .inspect_err(|error| warn!(error = %daemon::chain(error), "evidence is not kept"))
        .ok()
}
