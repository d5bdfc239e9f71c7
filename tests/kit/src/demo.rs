//! The demo: real programs, sixteen rows, and the mutations that show what each row rests on.

pub mod actors;
pub mod cgroup;
pub mod config;
pub mod layout;
pub mod manifest;
pub mod mutate;
pub mod ports;
pub mod programs;
pub mod row;
pub mod rows;
pub mod stage;
pub mod table;
pub mod tamper;
pub mod try_it;
pub mod world;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

pub use mutate::{Outcome, run as run_mutation};
pub use row::{Result, Row, Verdict};
pub use rows::ROWS;
pub use tamper::{Mutation, Tamper, mutations};

use stage::Stage;
use world::{Files, World};

/// Where a run keeps everything, unless it is told otherwise.
pub const BASE: &str = "/var/lib/countersign-demo";

/// What becomes of a run after its last row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// It is stopped.
    Stop,
    /// It stays until Ctrl-C.
    Keep,
}

/// One run: what it breaks, and who hears of it.
pub struct Run<'a> {
    /// Its directory.
    pub base: PathBuf,
    /// What is broken in it.
    pub tamper: Tamper,
    /// What becomes of it.
    pub afterwards: Afterwards,
    /// Told of each step.
    pub progress: &'a mut dyn FnMut(&str),
    /// Told of each row as it ends.
    pub row: &'a mut dyn FnMut(&Result),
}

impl std::fmt::Debug for Run<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Run")
            .field("base", &self.base)
            .field("tamper", &self.tamper)
            .finish_non_exhaustive()
    }
}

/// Runs every row, then stops every program by its own pid: after the last row, after a failure, and after Ctrl-C.
///
/// # Errors
///
/// When something does not start or stop, or the run is interrupted. A row that fails is no error.
pub async fn run(run: Run<'_>) -> anyhow::Result<Vec<Result>> {
    let Run {
        base,
        tamper,
        afterwards,
        progress,
        row,
    } = run;
    progress("installing and signing the programs");
    let mut world = World::prepare(&base, tamper)?;
    if let Err(error) = Box::pin(interruptible(world.start(progress))).await {
        return Err(stopped(world, error, progress).await);
    }
    let mut stage = match Stage::set(world) {
        Ok(stage) => stage,
        Err((error, world)) => return Err(stopped(*world, error, progress).await),
    };
    let results = Box::pin(interruptible(every_row(&mut stage, row))).await;
    if results.is_ok() {
        warn_of_fail_open(&stage, progress);
        if afterwards == Afterwards::Keep {
            keep(&stage, progress).await?;
        }
    }
    progress("stopping every program");
    let all_ok = results
        .as_ref()
        .is_ok_and(|results| results.iter().all(|result| result.verdict == Verdict::Ok));
    if !all_ok {
        progress(&format!(
            "what the programs said is in {}",
            stage.world.layout.logs().display()
        ));
    }
    stage
        .world
        .stop(if all_ok { Files::Remove } else { Files::Leave })
        .await?;
    results
}

async fn every_row(
    stage: &mut Stage,
    told: &mut dyn FnMut(&Result),
) -> anyhow::Result<Vec<Result>> {
    let mut results = Vec::new();
    for row in ROWS {
        let result = rows::run(row, stage).await;
        told(&result);
        results.push(result);
    }
    Ok(results)
}

/// What `failure_mode_allow: true` does to each denial, measured on a listener that has it.
fn warn_of_fail_open(stage: &Stage, progress: &mut dyn FnMut(&str)) {
    let (passed, denied): (Vec<_>, Vec<_>) = stage
        .fail_open
        .iter()
        .partition(|(_, status)| (200..300).contains(*status));
    let list = |rows: Vec<(&u8, &u16)>| {
        rows.iter()
            .map(|(row, status)| format!("{row} ({status})"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    progress(&format!(
        "WARNING: behind `failure_mode_allow: true` these rows PASS: {}",
        list(passed)
    ));
    progress(&format!(
        "         and these are denied all the same: {}",
        list(denied)
    ));
}

async fn keep(stage: &Stage, progress: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
    let path = manifest::write(stage)?;
    progress(&format!(
        "it stays until Ctrl-C; where everything is: {}",
        path.display()
    ));
    for line in try_it::lines(stage)? {
        progress(&line);
    }
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("no Ctrl-C to wait for"),
        _ = stop.recv() => Ok(()),
    }
}

/// Ends early, with an error, on Ctrl-C or SIGTERM.
async fn interruptible<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut stop = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
        _ = stop.recv() => anyhow::bail!("interrupted"),
    }
}

async fn stopped(
    world: World,
    error: anyhow::Error,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Error {
    progress("stopping every program");
    let logs = world.layout.logs();
    let error = error.context(format!("what the programs said is in {}", logs.display()));
    match world.stop(Files::Leave).await {
        Ok(()) => error,
        Err(also) => error.context(format!("and stopping failed: {also:#}")),
    }
}

/// The directory of a run that must not meet another one's.
pub fn base(name: &str) -> PathBuf {
    Path::new(BASE).with_file_name(format!("countersign-{name}"))
}
