//! `cert-agent workload`.

use std::{path::Path, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use daemon::chain;
use policy::reason::Reason;

use super::{AdminSocket, EXIT_USAGE, block_on, say, tell};
use crate::admin::client::{Client, ClientError, Row};

#[derive(Debug, Subcommand)]
pub(super) enum WorkloadCommand {
    /// List every workload with what it holds, and every refusal that is kept.
    List(Asked),
    /// Say why a workload has, or was refused, an identity.
    Explain(AskedAbout),
    /// Make new keys and SVIDs now.
    Rotate(AskedMaybeAbout),
}

#[derive(Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    socket: AdminSocket,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct AskedAbout {
    /// A workload, a grant, a SPIFFE ID or a program's digest.
    subject: String,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
pub(super) struct AskedMaybeAbout {
    /// A workload, a grant or a SPIFFE ID; every workload without one.
    subject: Option<String>,
    #[command(flatten)]
    asked: Asked,
}

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// One JSON array.
    Json,
}

pub(super) fn main(command: WorkloadCommand) -> ExitCode {
    let asked = match &command {
        WorkloadCommand::List(asked) => asked,
        WorkloadCommand::Explain(about) => &about.asked,
        WorkloadCommand::Rotate(about) => &about.asked,
    };
    let Some(socket) = asked.socket.path() else {
        return ExitCode::from(EXIT_USAGE);
    };
    block_on(ask(command, socket.as_path()))
}

async fn ask(command: WorkloadCommand, socket: &Path) -> ExitCode {
    let (output, explain) = match &command {
        WorkloadCommand::List(asked) => (asked.output, false),
        WorkloadCommand::Explain(about) => (about.asked.output, true),
        WorkloadCommand::Rotate(about) => (about.asked.output, false),
    };
    match answer(command, socket).await {
        Ok(workloads) if workloads.is_empty() && explain => {
            tell(
                "nothing is known of that: no workload runs under it, and no refusal of it is kept",
            );
            ExitCode::FAILURE
        }
        Ok(workloads) => {
            print(&workloads, output, explain);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tell(&chain(&failure));
            ExitCode::FAILURE
        }
    }
}

async fn answer(command: WorkloadCommand, socket: &Path) -> Result<Vec<Row>, ClientError> {
    let agent = Client::connect(socket).await?;
    match command {
        WorkloadCommand::List(_) => agent.list().await,
        WorkloadCommand::Explain(AskedAbout { subject, .. }) => agent.explain(subject).await,
        WorkloadCommand::Rotate(AskedMaybeAbout { subject, .. }) => {
            agent.rotate(subject.unwrap_or_default()).await
        }
    }
}

fn print(workloads: &[Row], output: Output, explain: bool) {
    match output {
        Output::Json => say(&serde_json::to_string(workloads).unwrap_or_default()),
        Output::Text if explain => workloads
            .iter()
            .flat_map(explained)
            .for_each(|line| say(&line)),
        Output::Text => workloads.iter().for_each(|workload| say(&row(workload))),
    }
}

fn row(workload: &Row) -> String {
    let outcome = match (workload.reason.as_str(), workload.serial.as_str()) {
        ("", "") => "holds nothing yet".to_owned(),
        ("", serial) => format!(
            "holds {} serial {serial} until {}",
            workload.spiffe_id, workload.not_after
        ),
        (reason, _) => format!("refused {reason}{}", wanted(workload)),
    };
    format!(
        "{}  {}  {outcome}  {}",
        or_dash(&workload.workload),
        or_dash(&workload.grant),
        workload.digests.join(",")
    )
}

fn explained(workload: &Row) -> Vec<String> {
    let mut lines = vec![
        row(workload),
        format!("  seen at    {}", workload.at),
        format!("  selectors  {}", workload.selectors.join(" ")),
    ];
    if let Some(reason) = Reason::from_code(&workload.reason) {
        lines.push(format!("  detail     {}", workload.detail));
        lines.push(format!("  meaning    {}", reason.meaning()));
        lines.push(format!("  next       {}", reason.next_command()));
    }
    lines
}

fn wanted(workload: &Row) -> String {
    if workload.spiffe_id.is_empty() {
        String::new()
    } else {
        format!(" for {}", workload.spiffe_id)
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
