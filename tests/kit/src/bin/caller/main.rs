//! The demo's caller: a workload that takes its identity from the Workload API, and calls through a proxy with it.

mod identity;
mod load;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use kit::wire::{Call, Connection};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::identity::Identity;

#[derive(Debug, Parser)]
#[command(
    name = "caller",
    about = "Calls through a proxy as the identity that the Workload API gives; prints JSON lines"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Asks once for an identity and says what came.
    Fetch,
    /// Holds the identity until SIGTERM and says each new serial.
    Hold,
    /// Sends one request on a connection of its own.
    Request(Target),
    /// Sends many requests on many connections while the identity rotates.
    Load(load::Arguments),
}

/// Where a request goes.
#[derive(Debug, Clone, Args)]
struct Target {
    /// The proxy.
    #[arg(long)]
    proxy: SocketAddr,
    /// Method.
    #[arg(long, default_value = "POST")]
    method: String,
    /// `:authority`.
    #[arg(long, default_value = "payments.acme.test")]
    authority: String,
    /// `:path`.
    #[arg(long, default_value = "/v1/charges")]
    path: String,
}

impl Target {
    fn call(&self) -> Call {
        Call::new(&self.method, &self.authority, &self.path)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Fetch => fetch().await,
        Command::Hold => hold().await,
        Command::Request(target) => request(&target).await,
        Command::Load(arguments) => load::run(&arguments).await,
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            say(&json!({ "error": format!("{error:#}") }));
            ExitCode::FAILURE
        }
    }
}

async fn fetch() -> anyhow::Result<ExitCode> {
    match identity::fetch().await {
        Ok(spiffe_id) => {
            say(&json!({ "spiffe_id": spiffe_id }));
            Ok(ExitCode::SUCCESS)
        }
        Err(refused) => {
            say(&json!({ "refused": refused.to_string() }));
            Ok(ExitCode::FAILURE)
        }
    }
}

async fn hold() -> anyhow::Result<ExitCode> {
    let mut stop = signal(SignalKind::terminate())?;
    let mut identity = Identity::wait(PATIENCE).await?;
    loop {
        say(&json!({ "spiffe_id": identity.spiffe_id()?, "serial": identity.serial()? }));
        tokio::select! {
            _ = stop.recv() => return Ok(ExitCode::SUCCESS),
            changed = identity.changed() => changed?,
        }
    }
}

async fn request(target: &Target) -> anyhow::Result<ExitCode> {
    let identity = Identity::wait(PATIENCE).await?;
    let mut connection = Connection::open(target.proxy, identity.client()?).await?;
    let reply = connection.send(&target.call()).await?;
    say(&json!({
        "spiffe_id": identity.spiffe_id()?,
        "serial": identity.serial()?,
        "server_serial": connection.server_serial,
        "status": reply.status,
        "reason": reply.reason(),
        "decision": reply.decision(),
        "body": reply.text(),
    }));
    Ok(ExitCode::SUCCESS)
}

fn say(line: &Value) {
    // A reader who is gone is no reason to fail.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// How long the first SVID may take.
const PATIENCE: Duration = Duration::from_secs(20);
