//! `cargo xtask demo`: sets up, builds, and hands over to the `demo` program of tests/kit.

use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::ValueEnum;

use crate::{run, setup};

/// What the reader asks of the demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Leaves everything running until Ctrl-C and prints commands to try.
    #[arg(long, conflicts_with = "mutations")]
    keep: bool,
    /// How the rows are printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Breaks one thing at a time and shows that exactly the rows that rest on it fail.
    #[arg(long)]
    mutations: bool,
    /// With `--mutations`: only this one, by name; may be given more than once.
    #[arg(long, requires = "mutations")]
    only: Vec<String>,
}

/// How the rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// Runs the demo, and does not come back if it starts.
///
/// # Errors
///
/// When a tool cannot be brought or a program does not build.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    run::need_root(
        "the demo's programs",
        "each runs under a uid and in a cgroup of its own",
    )?;
    setup::run()?;
    run::say(format_args!(
        "building the programs: about six minutes on two cores from an empty target"
    ));
    run::step(
        "build",
        run::cargo().args(["build", "--workspace", "--bins", "--locked"]),
    )?;
    let mut demo = run::cargo();
    demo.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "countersign-kit",
        "--bin",
        "demo",
        "--",
    ]);
    if arguments.keep {
        demo.arg("--keep");
    }
    if arguments.output == Output::Json {
        demo.args(["--output", "json"]);
    }
    if arguments.mutations {
        demo.arg("--mutations");
    }
    for name in &arguments.only {
        demo.arg("--only").arg(name);
    }
    // It takes our place, and cargo lets it take cargo's, so that a Ctrl-C reaches only the one that stops the programs.
    Err(demo.exec()).context("the demo did not start")
}
