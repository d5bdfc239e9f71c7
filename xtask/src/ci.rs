//! `cargo xtask ci`: the one gate, in the order in which it fails soonest.

use std::process::ExitCode;

use crate::{check_deps, run, test};

/// Runs the gate.
///
/// # Errors
///
/// At the first step that does not pass.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    run::step("format", run::cargo().args(["fmt", "--all", "--check"]))?;
    run::step(
        "lints",
        run::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    check_dependencies()?;
    test::run()?;
    run::step(
        "documentation",
        run::cargo()
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn check_dependencies() -> anyhow::Result<()> {
    run::say(format_args!("==> dependency arrows"));
    let code = check_deps::run(&check_deps::Arguments::default())?;
    anyhow::ensure!(code == ExitCode::SUCCESS, "a dependency arrow is broken");
    Ok(())
}
