//! The project's own commands: `cargo xtask <command>`.

mod check_deps;
mod ci;
mod demo;
mod generate;
mod reasons;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    about = "Countersign's own commands",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Installs what the demo and the tests need and this machine lacks.
    Setup,
    /// Runs the whole chain with real programs and prints what each caller got.
    Demo(demo::Arguments),
    /// Sets up, then runs every test.
    Test,
    /// The gate: formatting, lints, tests, docs, dependency arrows.
    Ci,
    /// Checks which crate and module may use which.
    CheckDeps(check_deps::Arguments),
    /// Writes the generated files again: gRPC code and the reasons page.
    Generate,
    /// Lists the reasons and error variants that no test produces.
    Reasons(reasons::Arguments),
}

fn main() -> ExitCode {
    match run_command(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            run::say(format_args!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

fn run_command(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Setup => setup::run().map(|()| ExitCode::SUCCESS),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test => test::run(),
        Command::Ci => ci::run(),
        Command::CheckDeps(arguments) => check_deps::run(&arguments),
        Command::Generate => generate::run().map(|()| ExitCode::SUCCESS),
        Command::Reasons(arguments) => reasons::run(&arguments),
    }
}
