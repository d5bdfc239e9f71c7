//! The commands that show something and end: explain, denials, reasons, status.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use policy::reason::Reason;
use serde::Serialize;

use super::{AdminArgs, BAD_INPUT, DenialsArgs, ExplainArgs, Output, complain};
use crate::admin::client::{AdminClient, AdminError, ReplicaStatus};
use crate::config::Config;
use crate::explain::Explanation;
use crate::record::{DecisionRecord, log};

/// `authz-service explain ID`
pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    let explanation = match &args.records {
        Some(file) => from_file(file, &args.id),
        None => from_service_or_file(args),
    };
    ended(explanation.and_then(|explanation| match args.admin.output {
        Output::Text => print(&explanation.text()),
        Output::Json => print_json(&explanation),
    }))
}

/// `authz-service denials`
pub(super) fn denials(args: &DenialsArgs) -> ExitCode {
    let denials = ask(&args.admin, async |mut client: AdminClient| {
        client.denials(args.limit).await
    });
    ended(denials.and_then(|denials| {
        match args.admin.output {
            Output::Text => denials
                .iter()
                .try_for_each(|record| print(&denial_line(record))),
            Output::Json => denials.iter().try_for_each(print_json),
        }
    }))
}

/// `authz-service status`
pub(super) fn status(args: &AdminArgs) -> ExitCode {
    let status = ask(args, async |mut client: AdminClient| client.status().await);
    ended(status.and_then(|status| match args.output {
        Output::Text => print(&status_text(&status)),
        Output::Json => print_json(&status),
    }))
}

/// `authz-service reasons [CODE]`
pub(super) fn reasons(code: Option<&str>) -> ExitCode {
    let Some(code) = code else {
        return ended(
            Reason::ALL
                .iter()
                .try_for_each(|reason| print(&reason_text(*reason))),
        );
    };
    match code.parse::<Reason>() {
        Ok(reason) => ended(print(&reason_text(reason))),
        Err(unknown) => {
            complain(&unknown.to_string());
            ExitCode::from(BAD_INPUT)
        }
    }
}

/// A running service knows the most: what agents said since. Its record file outlives it.
fn from_service_or_file(args: &ExplainArgs) -> anyhow::Result<Explanation> {
    let (socket, file) = places(&args.admin)?;
    match asked(&socket, async |mut client: AdminClient| {
        client.explain(&args.id).await
    })? {
        Ok(explanation) => Ok(explanation),
        Err(error @ AdminError::Unreachable { .. }) => match file {
            Some(file) => {
                complain(&format!(
                    "{}; reading {}",
                    daemon::chain(&error),
                    file.display()
                ));
                from_file(&file, &args.id)
            }
            None => Err(error.into()),
        },
        Err(
            error @ (AdminError::NotFound { .. } | AdminError::Refused(_) | AdminError::Answer(_)),
        ) => Err(error.into()),
    }
}

fn from_file(file: &Path, id: &str) -> anyhow::Result<Explanation> {
    let line = log::find(file, id)
        .with_context(|| format!("`{}` cannot be read", file.display()))?
        .ok_or_else(|| anyhow!("no record of decision `{id}` in `{}`", file.display()))?;
    let record: DecisionRecord =
        serde_json::from_str(&line).context("the record cannot be read")?;
    Ok(Explanation::of(record, &[]))
}

fn ask<T>(
    args: &AdminArgs,
    question: impl AsyncFnOnce(AdminClient) -> Result<T, AdminError>,
) -> anyhow::Result<T> {
    let (socket, _file) = places(args)?;
    Ok(asked(&socket, question)??)
}

fn asked<T>(
    socket: &Path,
    question: impl AsyncFnOnce(AdminClient) -> Result<T, AdminError>,
) -> anyhow::Result<Result<T, AdminError>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    Ok(runtime.block_on(async { question(AdminClient::connect(socket).await?).await }))
}

/// The admin socket, and the record file if the configuration was read.
fn places(args: &AdminArgs) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    if let Some(socket) = &args.admin {
        return Ok((socket.clone(), None));
    }
    let config = Config::load(&args.config)?;
    Ok((config.admin_socket(), Some(config.records.file)))
}

fn denial_line(record: &DecisionRecord) -> String {
    crate::explain::line(record)
}

fn status_text(status: &ReplicaStatus) -> String {
    let ReplicaStatus {
        generation,
        policy_hash,
        bindings,
        ready,
        missing,
        agents,
    } = status;
    let state = if *ready {
        "ready".to_owned()
    } else {
        format!("not ready, missing: {}", missing.join(", "))
    };
    let mut text = format!(
        "state       {state}\ngeneration  {generation}\npolicy      {policy_hash}\nbindings    {bindings}\n"
    );
    for agent in agents {
        let synced = if agent.synced { "synced" } else { "not synced" };
        let policy = match &agent.policy_hash {
            none if none.is_empty() => String::new(),
            same if same == policy_hash => ", same policy".to_owned(),
            other => format!(", another policy: {other}"),
        };
        text.extend(["agent       ", &agent.identity, ": ", synced, &policy, "\n"]);
    }
    text
}

fn reason_text(reason: Reason) -> String {
    let (meaning, fixed_by, command) = (reason.meaning(), reason.fixed_by(), reason.next_command());
    format!("{reason}\n  {meaning}\n  fixed by: {fixed_by}\n  next: {command}\n")
}

fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&daemon::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    write!(std::io::stdout(), "{text}{end}").context("standard output is closed")
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string(value).context("the answer cannot be written")?)
}
