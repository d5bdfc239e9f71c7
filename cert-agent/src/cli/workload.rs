//! `cert-agent workload`.

use std::{path::Path, process::ExitCode};

use clap::{Args, Subcommand, ValueEnum};
use countersign_proto::agent::{
    ExplainWorkloadRequest, ListWorkloadsRequest, RotateWorkloadRequest, Workload,
    agent_admin_client::AgentAdminClient,
};
use daemon::chain;
use hyper_util::rt::TokioIo;
use policy::reason::Reason;
use serde_json::json;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use super::{AdminSocket, EXIT_USAGE, block_on, say, tell};

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
            tell(&failure);
            ExitCode::FAILURE
        }
    }
}

async fn answer(command: WorkloadCommand, socket: &Path) -> Result<Vec<Workload>, String> {
    let mut agent = connect(socket).await.map_err(|failure| {
        format!(
            "no agent answers at `{}`: {}",
            socket.display(),
            chain(&failure)
        )
    })?;
    let said = |status: tonic::Status| status.message().to_owned();
    Ok(match command {
        WorkloadCommand::List(_) => {
            agent
                .list_workloads(ListWorkloadsRequest {})
                .await
                .map_err(said)?
                .into_inner()
                .workloads
        }
        WorkloadCommand::Explain(AskedAbout { subject, .. }) => {
            agent
                .explain_workload(ExplainWorkloadRequest { subject })
                .await
                .map_err(said)?
                .into_inner()
                .workloads
        }
        WorkloadCommand::Rotate(AskedMaybeAbout { subject, .. }) => {
            let subject = subject.unwrap_or_default();
            agent
                .rotate_workload(RotateWorkloadRequest { subject })
                .await
                .map_err(said)?
                .into_inner()
                .workloads
        }
    })
}

async fn connect(socket: &Path) -> Result<AgentAdminClient<Channel>, tonic::transport::Error> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_address| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://agent.countersign")
        .connect_with_connector(connector)
        .await?;
    Ok(AgentAdminClient::new(channel))
}

fn print(workloads: &[Workload], output: Output, explain: bool) {
    match output {
        Output::Json => say(&json!(workloads.iter().map(as_json).collect::<Vec<_>>()).to_string()),
        Output::Text if explain => workloads
            .iter()
            .flat_map(explained)
            .for_each(|line| say(&line)),
        Output::Text => workloads.iter().for_each(|workload| say(&row(workload))),
    }
}

fn as_json(workload: &Workload) -> serde_json::Value {
    let Workload {
        workload,
        grant,
        spiffe_id,
        spki,
        serial,
        not_after,
        digests,
        reason,
        detail,
        selectors,
        at,
    } = workload;
    json!({
        "workload": workload, "grant": grant, "spiffeId": spiffe_id, "spki": spki, "serial": serial, "notAfter": not_after,
        "digests": digests, "reason": reason, "detail": detail, "selectors": selectors, "at": at,
    })
}

fn row(workload: &Workload) -> String {
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

fn explained(workload: &Workload) -> Vec<String> {
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

fn wanted(workload: &Workload) -> String {
    if workload.spiffe_id.is_empty() {
        String::new()
    } else {
        format!(" for {}", workload.spiffe_id)
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}
