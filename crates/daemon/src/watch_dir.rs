//! Owns the reading of a whole directory, again and again: its files as one value, and the news that they differ.
//!
//! A timed re-read is the truth: notifications miss the swap of a `..data` link.

mod read;

use std::{path::PathBuf, time::Duration};

use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep_until},
};

pub use self::read::{Contents, DirectoryError, Limits};
use crate::chain;

/// How often a directory is read again.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// A directory that is read again every [`INTERVAL`].
#[derive(Debug)]
pub struct WatchedDirectory {
    path: PathBuf,
    limits: Limits,
    /// What the last read said; a failure as its text.
    last: Option<Result<[u8; 32], String>>,
    next: Instant,
}

impl WatchedDirectory {
    /// Watches `path`, within `limits`.
    pub fn new(path: impl Into<PathBuf>, limits: Limits) -> Self {
        Self {
            path: path.into(),
            limits,
            last: None,
            next: Instant::now(),
        }
    }

    /// Reads the directory now. [`WatchedDirectory::changed`] then waits for something else.
    ///
    /// # Errors
    /// The directory could not be read within its limits.
    pub async fn read(&mut self) -> Result<Contents, DirectoryError> {
        let path = self.path.clone();
        let limits = self.limits;
        let result = match spawn_blocking(move || read::read(&path, limits)).await {
            Ok(result) => result,
            Err(_ended) => Err(DirectoryError::Interrupted {
                path: self.path.clone(),
            }),
        };
        self.next = Instant::now() + INTERVAL;
        self.last = Some(match &result {
            Ok(contents) => Ok(*contents.hash()),
            Err(error) => Err(chain(error)),
        });
        result
    }

    /// Waits until the directory differs from the last read, and returns what it holds now. A failure to read is news once.
    /// Nothing is lost when the wait is cancelled.
    ///
    /// # Errors
    /// The directory can no longer be read within its limits, or for another reason than before.
    pub async fn changed(&mut self) -> Result<Contents, DirectoryError> {
        loop {
            sleep_until(self.next).await;
            let before = self.last.clone();
            let result = self.read().await;
            if self.last != before {
                return result;
            }
        }
    }
}

/// Reads a whole directory once, as [`WatchedDirectory`] does.
///
/// # Errors
/// The directory could not be read within `limits`.
pub fn read_directory(path: &std::path::Path, limits: Limits) -> Result<Contents, DirectoryError> {
    read::read(path, limits)
}

#[cfg(test)]
mod tests;
