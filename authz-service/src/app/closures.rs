//! Closures over a restart: read at the start, kept while the program runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use artifact::Closures;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// What an earlier run knew. A file that cannot be read costs time, not safety: everything is derived again.
pub(super) fn open(state: &Path) -> Arc<Closures> {
    let path = state.join(FILE);
    let closures = Closures::open(&path).unwrap_or_else(|error| {
        warn!(error = %daemon::chain(&error), "closures cannot be read; they are derived again");
        Closures::empty(path)
    });
    Arc::new(closures)
}

/// Keeps them on disk, until `stop` and once more then.
pub(super) async fn keep(closures: Arc<Closures>, stop: CancellationToken) {
    while stop.run_until_cancelled(closures.changed()).await.is_some() {
        // What else comes in the next moment is written with it.
        stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
        persist(&closures).await;
    }
    persist(&closures).await;
}

/// Writes them now.
pub(super) async fn persist(closures: &Arc<Closures>) {
    let writing = Arc::clone(closures);
    match tokio::task::spawn_blocking(move || writing.persist()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(error = %daemon::chain(&error), "closures could not be kept"),
        Err(ended) => warn!(%ended, "closures could not be kept"),
    }
}

/// The file beneath the state directory.
const FILE: &str = "closures.json";

/// 500 ms // a pull of many layers is one write; a crash loses at most that much.
const GATHER: Duration = Duration::from_millis(500);
