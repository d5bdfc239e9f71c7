//! The policy directory: read whole, compiled, put in force; the last good one outlives a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::last_good::LastGood;
use daemon::watch_dir::{Contents, DirectoryError, Limits, WatchedDirectory};
use policy::compile::compile;
use policy::error::PolicyErrors;
use policy::policy::Policy;
use policy::source::PolicySource;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::record::{Metrics, PolicyState};
use crate::snapshot::writer::{Command, Commands};

/// The directory that is watched.
#[derive(Debug)]
pub struct PolicyDirectory {
    directory: WatchedDirectory,
    path: PathBuf,
    last_good: LastGood,
    metrics: Metrics,
}

/// Why there is no policy at all.
#[derive(Debug, thiserror::Error)]
pub enum NoPolicy {
    /// The directory cannot be read, and nothing good was kept.
    #[error("the policy directory cannot be read, and no last good policy is kept")]
    Unreadable(#[source] DirectoryError),
    /// The policy does not compile, and nothing good was kept.
    #[error("{0}")]
    Broken(PolicyErrors),
}

/// Why a directory gives no policy.
#[derive(Debug)]
enum Fault {
    Unreadable(DirectoryError),
    Broken(PolicyErrors),
}

impl PolicyDirectory {
    /// Watches `path`; keeps what compiled under `state`.
    pub fn new(path: &Path, state: &Path, metrics: Metrics) -> Self {
        Self {
            directory: WatchedDirectory::new(path, Limits::default()),
            path: path.to_owned(),
            last_good: LastGood::new(state.join(LAST_GOOD), MAX_LAST_GOOD_BYTES),
            metrics,
        }
    }

    /// The policy to start with: the directory's, or else the last good one.
    ///
    /// # Errors
    /// There is neither: a first start needs a policy that compiles.
    pub async fn first(&mut self) -> Result<Arc<Policy>, NoPolicy> {
        let read = self.directory.read().await;
        match self.compiled(read) {
            Ok(policy) => Ok(policy),
            Err(fault) => self.kept(fault),
        }
    }

    /// Puts every later policy that compiles in force, until `stop`.
    pub async fn run(mut self, commands: Commands, stop: CancellationToken) {
        while let Some(read) = stop.run_until_cancelled(self.directory.changed()).await {
            match self.compiled(read) {
                Ok(policy) => {
                    info!(policy = policy.hash(), "policy in force");
                    if commands.send(Command::Policy(policy)).await.is_err() {
                        return;
                    }
                }
                Err(fault) => self.alarm(&fault),
            }
        }
    }

    fn compiled(&self, read: Result<Contents, DirectoryError>) -> Result<Arc<Policy>, Fault> {
        let source = PolicySource {
            files: read.map_err(Fault::Unreadable)?.into_files(),
        };
        let policy = compile(&source).map_err(Fault::Broken)?;
        self.metrics.policy(PolicyState::Good);
        if let Err(error) = self.last_good.store(&source.encode()) {
            warn!(error = %daemon::chain(&error), "the policy in force could not be kept for a restart");
        }
        Ok(Arc::new(policy))
    }

    /// The last good policy, in place of a directory that gives none.
    fn kept(&self, fault: Fault) -> Result<Arc<Policy>, NoPolicy> {
        match self.load() {
            Some(policy) => {
                self.alarm(&fault);
                info!(policy = policy.hash(), "last good policy in force");
                Ok(policy)
            }
            None => Err(match fault {
                Fault::Unreadable(error) => NoPolicy::Unreadable(error),
                Fault::Broken(errors) => NoPolicy::Broken(errors),
            }),
        }
    }

    fn load(&self) -> Option<Arc<Policy>> {
        let bytes = match self.last_good.load() {
            Ok(bytes) => bytes?,
            Err(error) => {
                not_kept(&error);
                return None;
            }
        };
        let source = PolicySource::decode(&bytes).inspect_err(not_kept).ok()?;
        compile(&source)
            .inspect_err(|errors| error!(%errors, "the last good policy no longer compiles"))
            .ok()
            .map(Arc::new)
    }

    fn alarm(&self, fault: &Fault) {
        self.metrics.policy(PolicyState::Broken);
        let directory = self.path.display();
        match fault {
            Fault::Unreadable(error) => {
                error!(%directory, error = %daemon::chain(error), "policy directory cannot be read; last good policy stays");
            }
            Fault::Broken(errors) => {
                error!(%directory, %errors, "policy does not compile; last good policy stays");
            }
        }
    }
}

fn not_kept(error: &(impl std::error::Error + 'static)) {
    error!(error = %daemon::chain(error), "no last good policy could be loaded");
}

/// The file beneath the state directory.
const LAST_GOOD: &str = "policy.last-good";

/// 32 MiB // the directory's own bound of 16 MiB, with room for the paths.
const MAX_LAST_GOOD_BYTES: u64 = 32 << 20;
