//! Where evidence comes from when no registry is asked.

mod directory;
mod kept;

pub use directory::{DirectorySource, MAX_ENTRIES, MAX_FILES, SourceError};
pub use kept::{KeptError, KeptEvidence, MAX_KEPT};
