//! Runs the demo and prints its table; `cargo xtask demo` sets up and builds before it.

use std::fmt::Arguments;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use kit::demo::{self, Afterwards, Mutation, Outcome, Run, Tamper, Verdict};

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
        table(&cli).await
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

async fn table(cli: &Cli) -> anyhow::Result<Verdict> {
    let start = Instant::now();
    let text = cli.output == Output::Text;
    complain(format_args!("a run takes about half a minute"));
    if text {
        say(format_args!(
            " #      {:<9}  {:<50}  {:<49}  why",
            "who", "does", "got"
        ));
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
                say(format_args!("{}", line(result)));
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
    let numbers = demo::ROWS.map(|row| format!("{:>3}", row.number)).concat();
    say(format_args!("     {:<28}{numbers}   breaks", "mutation"));
    let mut verdict = Verdict::Ok;
    for mutation in mutations {
        let name = mutation.name;
        let outcome =
            demo::run_mutation(mutation, demo::base("demo-mutations"), &mut |_| {}).await?;
        say(format_args!("{}", cells(&outcome)));
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
                .for_each(|result| complain(format_args!("    {}", line(result))));
        }
    }
    Ok(verdict)
}

/// One line of the matrix: `F` where a row failed, in brackets where it should not have, or should have and did not.
fn cells(outcome: &Outcome) -> String {
    let failed = outcome.failed();
    let cells = demo::ROWS.map(|row| {
        match (
            failed.contains(&row.number),
            outcome.mutation.fails.contains(&row.number),
        ) {
            (true, true) => "  F",
            (false, false) => "  .",
            (true, false) => "(F)",
            (false, true) => "(.)",
        }
    });
    let verdict = if outcome.as_listed() {
        Verdict::Ok
    } else {
        Verdict::Fail
    };
    format!(
        "{:<4} {:<28}{}   {}",
        verdict.as_str(),
        outcome.mutation.name,
        cells.concat(),
        outcome.mutation.breaks
    )
}

fn line(result: &demo::Result) -> String {
    let demo::Row {
        number, who, does, ..
    } = result.row;
    format!(
        "{number:>2} {:<4} {who:<9}  {does:<50}  {:<49}  {}",
        result.verdict.as_str(),
        result.got,
        result.why
    )
}

/// Rows go to standard output, all else to standard error.
fn say(line: Arguments<'_>) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

fn complain(line: Arguments<'_>) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
