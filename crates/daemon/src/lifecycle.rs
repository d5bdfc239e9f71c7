//! Owns the tasks of a program: their names, their end, and the program's end.

use std::{process::ExitCode, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, info, warn};

/// How long tasks have to fall once they are no longer waited for.
const HARD_STOP: Duration = Duration::from_secs(1);

/// Every task of a program. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    tasks: TaskTracker,
    stop: CancellationToken,
    hard_stop: CancellationToken,
    failed: Arc<Mutex<Option<&'static str>>>,
}

impl Lifecycle {
    /// A program that has no task yet.
    pub fn new() -> Self {
        Self {
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            hard_stop: CancellationToken::new(),
            failed: Arc::new(Mutex::new(None)),
        }
    }

    /// Runs a part of the program. If it ends or panics before the program stops, the program stops.
    pub fn spawn(&self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(&Handle::current(), name, part);
    }

    /// As [`Lifecycle::spawn`], on another runtime.
    pub fn spawn_on(
        &self,
        runtime: &Handle,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let end = EndOfPart {
            name,
            lifecycle: self.clone(),
        };
        let hard_stop = self.hard_stop.clone();
        self.tasks.spawn_on(
            async move {
                let _end = end;
                hard_stop.run_until_cancelled(part).await;
            },
            runtime,
        );
    }

    /// Runs something that ends by itself, such as a connection. The drain waits for it; a panic in it is remembered.
    pub fn spawn_brief(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let end = EndOfWork {
            name,
            lifecycle: self.clone(),
        };
        let hard_stop = self.hard_stop.clone();
        self.tasks.spawn(async move {
            let _end = end;
            hard_stop.run_until_cancelled(work).await;
        });
    }

    /// Runs a part that serves until the very end of the program: the drain does not wait for it, the runtime's end drops it.
    /// If it ends or panics before the program stops, the program stops.
    pub fn spawn_to_the_end(
        &self,
        name: &'static str,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        let end = EndOfPart {
            name,
            lifecycle: self.clone(),
        };
        Handle::current().spawn(async move {
            let _end = end;
            part.await;
        });
    }

    /// Cancelled when the program should stop: finish what is in flight, take nothing new.
    pub fn token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Begins the stop.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops on SIGTERM or SIGINT; a second one gives up waiting.
    ///
    /// # Errors
    /// The signal handlers could not be installed.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        let signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        let lifecycle = self.clone();
        self.spawn_to_the_end(
            "signals",
            async move { lifecycle.on_signals(signals).await },
        );
        Ok(())
    }

    /// Waits for the stop, then for the tasks, but no longer than `deadline`.
    pub async fn drain(&self, deadline: Duration) -> Outcome {
        self.stop.cancelled().await;
        self.tasks.close();
        let drained = tokio::select! {
            drained = timeout(deadline, self.tasks.wait()) => drained.is_ok(),
            () = self.hard_stop.cancelled() => false,
        };
        if !drained {
            warn!("tasks are still running; giving up on them");
            self.hard_stop.cancel();
            // A task that does not yield is left to the end of the process.
            let _late = timeout(HARD_STOP, self.tasks.wait()).await;
        }
        match (*self.failed.lock(), drained) {
            (Some(part), _) => Outcome::Failed { part },
            (None, true) => Outcome::Clean,
            (None, false) => Outcome::Forced,
        }
    }

    async fn on_signals(&self, mut signals: Signals) {
        signals.next().await;
        info!("stopping on a signal");
        self.stop.cancel();
        signals.next().await;
        warn!("second signal: not waiting any longer");
        self.hard_stop.cancel();
    }

    fn fail(&self, name: &'static str) {
        self.failed.lock().get_or_insert(name);
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything finished in time.
    Clean,
    /// A part ended early, or something panicked.
    Failed {
        /// The first that did.
        part: &'static str,
    },
    /// Something was still running at the deadline or at the second signal.
    Forced,
}

impl Outcome {
    /// 0 only if everything finished.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Clean => ExitCode::SUCCESS,
            Self::Failed { .. } | Self::Forced => ExitCode::FAILURE,
        }
    }
}

/// Dropped when a part ends, also by panic.
struct EndOfPart {
    name: &'static str,
    lifecycle: Lifecycle,
}

impl Drop for EndOfPart {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.lifecycle.stop.is_cancelled() {
            error!(
                part = self.name,
                "a part of the program ended early; stopping"
            );
            self.lifecycle.fail(self.name);
            self.lifecycle.stop.cancel();
        }
    }
}

/// Dropped when some work ends, also by panic.
struct EndOfWork {
    name: &'static str,
    lifecycle: Lifecycle,
}

impl Drop for EndOfWork {
    fn drop(&mut self) {
        if std::thread::panicking() {
            error!(work = self.name, "panicked");
            self.lifecycle.fail(self.name);
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests;
