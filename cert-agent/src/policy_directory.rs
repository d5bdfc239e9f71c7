//! The policy directory, read again while running; the last good one stays in force, also over a restart.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use daemon::{
    chain,
    last_good::LastGood,
    watch_dir::{Contents, DirectoryError, Limits, WatchedDirectory, read_directory},
};
use policy::{PolicyErrors, PolicySource};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    grants::{Grants, InvalidGrants, Reserved},
    metrics::Metrics,
};

/// The one owner of the grants in force.
#[derive(Debug)]
pub struct PolicyDirectory {
    path: PathBuf,
    watched: WatchedDirectory,
    last_good: LastGood,
    reserved: Reserved,
    metrics: Metrics,
    grants: watch::Sender<Arc<Grants>>,
}

impl PolicyDirectory {
    /// Reads the directory for the first time. When it is broken, what was last good before the restart is in force.
    ///
    /// # Errors
    /// The directory is broken, and nothing was ever good.
    pub async fn open(
        path: &Path,
        state: &Path,
        reserved: Reserved,
        metrics: Metrics,
    ) -> Result<Self, PolicyFailure> {
        let mut watched = WatchedDirectory::new(path, Limits::default());
        let last_good = LastGood::new(state.join(LAST_GOOD), LAST_GOOD_BYTES);
        let read = watched.read().await;
        let grants = match compile(path, read, &reserved) {
            Ok((source, grants)) => {
                keep(&last_good, &source);
                grants
            }
            Err(failure) => {
                metrics.policy_broken.set(1);
                let grants = recall(path, &last_good, &reserved).ok_or_else(|| failure.clone())?;
                error!(%failure, policy = grants.policy_hash(), "the policy directory is broken; the last good policy is in force");
                grants
            }
        };
        info!(
            policy = grants.policy_hash(),
            grants = grants.iter().count(),
            "policy in force"
        );
        let grants = watch::Sender::new(Arc::new(grants));
        Ok(Self {
            path: path.to_owned(),
            watched,
            last_good,
            reserved,
            metrics,
            grants,
        })
    }

    /// The grants in force, now and after every change.
    pub fn grants(&self) -> watch::Receiver<Arc<Grants>> {
        self.grants.subscribe()
    }

    /// Follows the directory until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(read) = stop.run_until_cancelled(self.watched.changed()).await {
            self.on_change(read);
        }
    }

    fn on_change(&mut self, read: Result<Contents, DirectoryError>) {
        match compile(&self.path, read, &self.reserved) {
            Ok((source, grants)) => {
                self.metrics.policy_broken.set(0);
                keep(&self.last_good, &source);
                info!(
                    policy = grants.policy_hash(),
                    grants = grants.iter().count(),
                    "policy in force"
                );
                self.grants.send_replace(Arc::new(grants));
            }
            Err(failure) => {
                self.metrics.policy_broken.set(1);
                error!(%failure, "the policy directory is broken; the policy before stays in force");
            }
        }
    }
}

/// Reads a directory once, for `cert-agent check`.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &Path, reserved: &Reserved) -> Result<Grants, PolicyFailure> {
    compile(path, read_directory(path, Limits::default()), reserved).map(|(_, grants)| grants)
}

/// Why a directory is no policy: one line for each mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFailure(Vec<String>);

impl PolicyFailure {
    fn unreadable(error: &DirectoryError) -> Self {
        Self(vec![chain(error)])
    }

    fn invalid(path: &Path, errors: &PolicyErrors) -> Self {
        Self(
            errors
                .iter()
                .map(|error| format!("{}/{error}", path.display()))
                .collect(),
        )
    }

    fn unfit(path: &Path, errors: &[InvalidGrants]) -> Self {
        Self(
            errors
                .iter()
                .map(|error| format!("{}: {error}", path.display()))
                .collect(),
        )
    }

    /// One line for each mistake.
    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for PolicyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for PolicyFailure {}

fn compile(
    path: &Path,
    read: Result<Contents, DirectoryError>,
    reserved: &Reserved,
) -> Result<(PolicySource, Grants), PolicyFailure> {
    let contents = read.map_err(|error| PolicyFailure::unreadable(&error))?;
    let source = PolicySource {
        files: contents.into_files(),
    };
    let grants = join(path, &source, reserved)?;
    Ok((source, grants))
}

fn join(path: &Path, source: &PolicySource, reserved: &Reserved) -> Result<Grants, PolicyFailure> {
    let policy = policy::compile(source).map_err(|errors| PolicyFailure::invalid(path, &errors))?;
    Grants::join(Arc::new(policy), reserved).map_err(|errors| PolicyFailure::unfit(path, &errors))
}

fn keep(last_good: &LastGood, source: &PolicySource) {
    if let Err(failure) = last_good.store(&source.encode()) {
        warn!(error = %chain(&failure), "the policy could not be kept for a restart");
    }
}

/// What is kept is compiled again: a new version may no longer accept it.
fn recall(path: &Path, last_good: &LastGood, reserved: &Reserved) -> Option<Grants> {
    let bytes = match last_good.load() {
        Ok(bytes) => bytes?,
        Err(failure) => {
            warn!(error = %chain(&failure), "the last good policy cannot be used");
            return None;
        }
    };
    let source = PolicySource::decode(&bytes)
        .map_err(|failure| warn!(error = %chain(&failure), "the last good policy cannot be used"))
        .ok()?;
    join(path, &source, reserved)
        .map_err(|failure| warn!(error = %failure, "the last good policy cannot be used"))
        .ok()
}

const LAST_GOOD: &str = "policy.last-good";
/// Above the limit of the directory itself.
const LAST_GOOD_BYTES: u64 = 32 << 20;
