//! The command line: what may be asked, and the exit code it ends with.

mod run;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::DEFAULT_CONFIG;

/// Decides, for a service mesh, who may call what, by the signatures of the code they run.
#[derive(Debug, Parser)]
#[command(name = "authz-service", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves Checks until SIGTERM
    Run(ConfigArgs),
    /// Reads configuration and policy and says what is wrong with them
    Check(ConfigArgs),
    /// Says why one decision was what it was, and what to do next
    Explain(ExplainArgs),
    /// Lists the newest denials
    Denials(DenialsArgs),
    /// Says what each reason means, who mends it and with which command
    Reasons {
        /// A reason's code, such as `artifact-unsigned`; all of them without one
        code: Option<String>,
    },
    /// Says what the replica holds and what it still waits for
    Status(AdminArgs),
}

#[derive(Debug, clap::Args)]
struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// A policy directory in place of the configured one
    #[arg(long, value_name = "DIR")]
    policy: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct AdminArgs {
    /// The configuration file, which says where the admin socket and the records are
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The admin socket of a running service, in place of the configured one
    #[arg(long, value_name = "SOCKET")]
    admin: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// The decision's id: the `x-countersign-decision` header, also in the body of the denial
    id: String,
    /// A record file to read, without asking a running service
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    records: Option<PathBuf>,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, clap::Args)]
struct DenialsArgs {
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people
    Text,
    /// JSON for programs
    Json,
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => run::check(&args),
        Command::Explain(args) => show::explain(&args),
        Command::Denials(args) => show::denials(&args),
        Command::Reasons { code } => show::reasons(code.as_deref()),
        Command::Status(args) => show::status(&args),
    }
}

/// The input is wrong: configuration, policy or arguments.
const BAD_INPUT: u8 = 2;

/// One line on standard output.
fn say(message: &str) {
    use std::io::Write as _;
    // Nobody reads it if standard output is closed.
    writeln!(std::io::stdout(), "{message}").unwrap_or_default();
}

/// One line on standard error.
fn complain(message: &str) {
    use std::io::Write as _;
    // Nobody reads it if standard error is closed.
    writeln!(std::io::stderr(), "authz-service: {message}").unwrap_or_default();
}
