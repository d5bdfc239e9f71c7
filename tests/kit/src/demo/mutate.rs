//! Runs the demo under one mutation, and holds the rows that fail to the rows that rest on what was broken.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::row::{Result, Verdict};
use super::tamper::Mutation;
use super::{Afterwards, Run};

/// What one mutation did.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Which mutation.
    pub mutation: Mutation,
    /// Every row under it.
    pub results: Vec<Result>,
}

impl Outcome {
    /// The rows that failed.
    pub fn failed(&self) -> BTreeSet<u8> {
        self.results
            .iter()
            .filter(|result| result.verdict == Verdict::Fail)
            .map(|result| result.row.number)
            .collect()
    }

    /// Whether exactly the rows failed that rest on what was broken.
    pub fn as_listed(&self) -> bool {
        self.failed() == self.mutation.fails.iter().copied().collect()
    }
}

/// Runs every row under `mutation`.
///
/// # Errors
///
/// When the run does not start or stop.
pub async fn run(
    mutation: Mutation,
    base: PathBuf,
    progress: &mut dyn FnMut(&str),
) -> anyhow::Result<Outcome> {
    let results = Box::pin(super::run(Run {
        base,
        tamper: mutation.tamper.clone(),
        afterwards: Afterwards::Stop,
        progress,
        row: &mut |_| {},
    }))
    .await?;
    Ok(Outcome { mutation, results })
}
