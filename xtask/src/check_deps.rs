//! `cargo xtask check-deps`: which crate and module may use which, and what may be compiled in at all.

mod arrows;
mod deployment;
mod duplicates;
mod finding;
mod graph;
mod licence;
mod manifest;
mod modules;
pub(crate) mod rust_source;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::run;
use finding::Finding;

/// Arguments of `check-deps`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {
    /// Checks the workspace in this directory instead of this one.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

/// Prints every finding. The exit code is a failure if there is one.
///
/// # Errors
///
/// When cargo or a file could not be read.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let root = arguments.root.clone().unwrap_or_else(run::root);
    let findings = findings(&root)?;
    for finding in &findings {
        run::say(format_args!("{finding}"));
    }
    if findings.is_empty() {
        run::say(format_args!("check-deps: every arrow holds"));
        return Ok(ExitCode::SUCCESS);
    }
    run::say(format_args!("check-deps: {} findings", findings.len()));
    Ok(ExitCode::FAILURE)
}

/// Everything that the workspace in `root` does and may not.
fn findings(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = declared_findings(root)?;
    findings.extend(graph::check(root)?);
    Ok(findings)
}

/// What can be found without resolving dependencies: in manifests, sources and deployment files.
fn declared_findings(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = arrows::check(root)?;
    findings.extend(manifest::check(root)?);
    findings.extend(modules::check(root)?);
    findings.extend(deployment::check(root)?);
    Ok(findings)
}
