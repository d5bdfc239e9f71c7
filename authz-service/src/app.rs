//! The wiring: every part built, bound and started from one configuration.

mod addresses;
mod closures;
mod error;
mod grpc_health;
mod lane;
mod mtls;
mod serve;
mod setup;

use std::sync::Arc;

use artifact::Closures;
use daemon::clock::Clock;
use daemon::metrics::Registry;
use daemon::{Lifecycle, Readiness};
use opentelemetry_sdk::trace::SdkTracer;
use tracing::{info, warn};

use crate::caller::Peers;
use crate::check::Checker;
use crate::config::Config;
use crate::record::{Metrics, RecordLog, Recorder};
use crate::reload::bundles::BundleFiles;
use crate::reload::policy::PolicyDirectory;
use crate::snapshot::writer::{Commands, Snapshots, State, Writer};

pub use addresses::Addresses;
pub use error::StartError;

use lane::Lane;
use serve::{Bound, Serving};

/// What the wiring is given.
#[derive(Debug)]
pub struct Parts {
    /// What the operator says.
    pub config: Config,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Makes the spans.
    pub tracer: SdkTracer,
    /// Where every part runs.
    pub lifecycle: Lifecycle,
}

/// A running service, as its starter sees it.
#[derive(Debug)]
pub struct App {
    /// What was bound.
    pub addresses: Addresses,
    /// What is missing.
    pub readiness: Readiness,
    /// What decides now.
    pub snapshots: Snapshots,
    /// Every sink.
    pub recorder: Arc<Recorder>,
    closures: Arc<Closures>,
    lane: Lane,
}

impl App {
    /// What is left to do once the program has drained: nothing more is decided, and what was is on disk.
    pub async fn close(self) {
        self.lane.end().await;
        closures::persist(&self.closures).await;
        let recorder = self.recorder;
        // Blocking, and bounded by the recorder's own patience.
        if let Err(ended) = tokio::task::spawn_blocking(move || recorder.flush()).await {
            warn!(%ended, "records may be incomplete");
        }
    }
}

/// Starts every part. Returns once all addresses are bound; readiness tells when it can answer.
///
/// # Errors
/// Something could not be read or bound.
pub async fn start(parts: Parts) -> Result<App, StartError> {
    let Parts {
        config,
        clock,
        tracer,
        lifecycle,
    } = parts;
    let registry = Registry::new();
    let metrics = Metrics::new(&registry);
    let readiness = Readiness::new();
    setup::warn_of_dangers(&config, &metrics);
    setup::directories(&config)?;
    let Deciding {
        commands,
        snapshots,
        roots,
    } = deciding(&config, &clock, &metrics, &readiness, &lifecycle).await?;

    let log =
        RecordLog::open(&config.records.file, config.records.max_bytes).map_err(|source| {
            StartError::Records {
                file: config.records.file.clone(),
                source,
            }
        })?;
    let recorder = Recorder::new(
        config.replica.clone(),
        Arc::clone(&clock),
        log,
        tracer,
        metrics.clone(),
    );
    let recorder = Arc::new(recorder);
    let closures = closures::open(&config.state);
    lifecycle.spawn(
        "closures",
        closures::keep(Arc::clone(&closures), lifecycle.token()),
    );
    let checker = Arc::new(Checker {
        clock: Arc::clone(&clock),
        snapshots: snapshots.clone(),
        peers: Peers::new(REMEMBERED_PEERS),
        puller: setup::puller(&config, &closures, &lifecycle)?,
        recorder: Arc::clone(&recorder),
    });

    let bound = Bound::bind(&config).await?;
    let addresses = bound.addresses(&config);
    addresses.write(&config.runtime)?;
    info!(?addresses, "bound");
    let lane = Lane::start().map_err(StartError::Lane)?;
    let serving = Serving {
        config,
        clock,
        lifecycle,
        registry,
        readiness: readiness.clone(),
        metrics,
        commands,
        snapshots: snapshots.clone(),
        roots,
        checker,
        recorder: Arc::clone(&recorder),
        lane: lane.handle().clone(),
    };
    serving.serve(bound).await;
    Ok(App {
        addresses,
        readiness,
        snapshots,
        recorder,
        closures,
        lane,
    })
}

/// What decides, and how it is changed.
struct Deciding {
    commands: Commands,
    snapshots: Snapshots,
    roots: tokio::sync::watch::Receiver<identity::trust_bundle::TrustBundles>,
}

/// Reads policy and roots, and starts the owner of the snapshot and what is read again.
async fn deciding(
    config: &Config,
    clock: &Arc<dyn Clock>,
    metrics: &Metrics,
    readiness: &Readiness,
    lifecycle: &Lifecycle,
) -> Result<Deciding, StartError> {
    let no_policy = readiness.wait_for("policy");
    let bundles = BundleFiles::first(config.trust_bundles.clone()).map_err(StartError::Bundle)?;
    let mut directory = PolicyDirectory::new(&config.policy, &config.state, metrics.clone());
    let policy = directory.first().await.map_err(StartError::Policy)?;
    no_policy.done();
    info!(policy = policy.hash(), "policy in force");
    let roots = bundles.subscribe();
    let state = State::new(
        policy,
        roots.borrow().clone(),
        config.agents.keys().cloned(),
    );
    let (writer, commands, snapshots) =
        Writer::new(state, Arc::clone(clock), metrics.clone(), readiness);
    lifecycle.spawn("snapshot", writer.run(lifecycle.token()));
    lifecycle.spawn("policy", directory.run(commands.clone(), lifecycle.token()));
    lifecycle.spawn("bundles", bundles.run(commands.clone(), lifecycle.token()));
    Ok(Deciding {
        commands,
        snapshots,
        roots,
    })
}

/// 4 096 certificates // those of one busy node's callers; each entry is some kilobytes.
const REMEMBERED_PEERS: u64 = 4096;
