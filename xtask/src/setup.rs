//! `cargo xtask setup`: brings the tools that the demo and the tests run, and nothing twice.

mod debian;
mod envoy;

use std::time::Instant;

use crate::run;

/// Brings what is missing and says what it brings.
///
/// # Errors
///
/// When something is missing and cannot be brought: the error says what, and by which command.
pub(crate) fn run() -> anyhow::Result<()> {
    let start = Instant::now();
    debian::bring()?;
    envoy::bring()?;
    run::say(format_args!(
        "setup: all tools are here ({} s)",
        start.elapsed().as_secs()
    ));
    Ok(())
}
