//! The lane that Checks run on: one thread with a runtime of its own, so that no verification delays a decision.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// One thread that runs what is spawned on its handle.
#[derive(Debug)]
pub(super) struct Lane {
    handle: Handle,
    end: CancellationToken,
    thread: JoinHandle<()>,
}

impl Lane {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let end = CancellationToken::new();
        let until = end.clone();
        let thread = std::thread::Builder::new()
            .name("check-lane".to_owned())
            .spawn(move || runtime.block_on(until.cancelled()))?;
        Ok(Self {
            handle,
            end,
            thread,
        })
    }

    /// What is spawned while the guard lives runs on the lane.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the thread. What still runs on it is dropped, and recorded as cancelled.
    pub(super) async fn end(self) {
        let Self {
            handle: _,
            end,
            thread,
        } = self;
        end.cancel();
        // A lane that panicked has ended too.
        tokio::task::spawn_blocking(move || thread.join().is_ok())
            .await
            .unwrap_or_default();
    }
}
