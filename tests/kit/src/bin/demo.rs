//! Runs the demo and prints its table; `cargo xtask demo` sets up and builds before it.

use std::fmt::Arguments;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use kit::demo::{self, Afterwards, Mutation, Run, Tamper, Verdict, table};

#[derive(Debug, Parser)]
#[command(
    name = "demo",
    about = "Runs the whole chain with real programs and prints what each caller got"
)]
struct Cli {
    /// Leaves everything running until Ctrl-C and prints commands to try.
    #[arg(long)]
    keep: bool,
    /// How the rows are printed.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Breaks one thing at a time and shows that exactly the rows that rest on it fail.
    #[arg(long)]
    mutations: bool,
    /// With `--mutations`: only this one, by name; may be given more than once.
    #[arg(long)]
    only: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = if cli.mutations {
        matrix(&cli).await
    } else {
        rows(&cli).await
    };
    match ended {
        Ok(Verdict::Ok) => ExitCode::SUCCESS,
        Ok(Verdict::Fail) => ExitCode::FAILURE,
        Err(error) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}

async fn rows(cli: &Cli) -> anyhow::Result<Verdict> {
    let start = Instant::now();
    let text = cli.output == Output::Text;
    complain(format_args!("a run takes about half a minute"));
    if text {
        say(format_args!("{}", table::head()));
    }
    let results = demo::run(Run {
        base: PathBuf::from(demo::BASE),
        tamper: Tamper::None,
        afterwards: if cli.keep {
            Afterwards::Keep
        } else {
            Afterwards::Stop
        },
        progress: &mut |step| complain(format_args!("[{:>3} s] {step}", start.elapsed().as_secs())),
        row: &mut |result| {
            if text {
                say(format_args!("{}", table::row(result)));
            }
        },
    })
    .await?;
    if !text {
        say(format_args!("{}", serde_json::to_string_pretty(&results)?));
    }
    let failed = results
        .iter()
        .filter(|result| result.verdict == Verdict::Fail)
        .count();
    complain(format_args!(
        "{} passed, {failed} failed",
        results.len() - failed
    ));
    Ok(if failed == 0 {
        Verdict::Ok
    } else {
        Verdict::Fail
    })
}

async fn matrix(cli: &Cli) -> anyhow::Result<Verdict> {
    let wanted = |mutation: &Mutation| {
        cli.only.is_empty() || cli.only.iter().any(|name| name == mutation.name)
    };
    let mutations: Vec<Mutation> = demo::mutations().into_iter().filter(wanted).collect();
    anyhow::ensure!(!mutations.is_empty(), "no mutation of that name");
    complain(format_args!(
        "{} mutations, about half a minute each",
        mutations.len()
    ));
    let numbers = demo::ROWS.map(|row| row.number);
    say(format_args!("{}", table::matrix_head(numbers)));
    let mut verdict = Verdict::Ok;
    for mutation in mutations {
        let name = mutation.name;
        let outcome =
            demo::run_mutation(mutation, demo::base("demo-mutations"), &mut |_| {}).await?;
        say(format_args!("{}", table::mutation(&outcome, numbers)));
        if !outcome.as_listed() {
            verdict = Verdict::Fail;
            complain(format_args!(
                "{name}: {:?} failed, {:?} should have",
                outcome.failed(),
                outcome.mutation.fails
            ));
            outcome
                .results
                .iter()
                .for_each(|result| complain(format_args!("{}", table::row(result))));
        }
    }
    Ok(verdict)
}

/// Rows go to standard output, all else to standard error.
fn say(line: Arguments<'_>) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

fn complain(line: Arguments<'_>) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
