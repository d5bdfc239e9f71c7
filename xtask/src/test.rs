//! `cargo xtask test`: sets up, then runs every test of the workspace.

use std::process::ExitCode;

use crate::{run, setup};

/// Runs every test.
///
/// # Errors
///
/// When a tool cannot be brought or a test fails.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    run::need_root(
        "the tests",
        "they run real programs under uids and in cgroups of their own",
    )?;
    setup::run()?;
    run::say(format_args!(
        "the tests take about fifteen minutes on two cores from an empty target, one minute of it the end-to-end run"
    ));
    // The end-to-end tests start these programs; `cargo test` alone does not build all of them.
    run::step(
        "build the programs",
        run::cargo().args(["build", "--workspace", "--bins", "--locked"]),
    )?;
    run::step(
        "test",
        run::cargo()
            .args(["test", "--workspace", "--locked"])
            .env("INSTA_UPDATE", "no"),
    )?;
    Ok(ExitCode::SUCCESS)
}
