//! `cert-agent ca`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};
use daemon::{SystemClock, chain, clock::Clock as _};
use identity::spiffe_id::TrustDomain;

use super::{say, tell};
use crate::{
    app,
    issuer::embedded_ca::{directory::Directory, error::CaError},
};

#[derive(Debug, Subcommand)]
pub(super) enum CaCommand {
    /// Make a root, to be taken offline, and its first intermediate.
    Init(InitArguments),
    /// Make the next intermediate; the root's key must be in the directory for it.
    Intermediate(DirectoryArguments),
}

#[derive(Debug, Args)]
pub(super) struct InitArguments {
    #[command(flatten)]
    at: DirectoryArguments,
    /// The trust domain, such as `acme.test`.
    #[arg(long, value_name = "NAME", value_parser = trust_domain)]
    trust_domain: TrustDomain,
}

#[derive(Debug, Args)]
pub(super) struct DirectoryArguments {
    /// The CA directory: root.pem, root.key, intermediate.pem, intermediate.key.
    #[arg(long, value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn main(command: &CaCommand) -> ExitCode {
    if let Err(failure) = app::harden() {
        tell(&chain(&failure));
        return ExitCode::FAILURE;
    }
    match run(command) {
        Ok(line) => {
            say(&line);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            tell(&chain(&failure));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &CaCommand) -> Result<String, CaError> {
    let now = SystemClock.now();
    match command {
        CaCommand::Init(InitArguments { at, trust_domain }) => {
            Directory::at(&at.directory).init(trust_domain, now)?;
            let key = at.directory.join("root.key");
            Ok(format!(
                "made the root and an intermediate of 7 days for {trust_domain}; now take {} offline",
                key.display()
            ))
        }
        CaCommand::Intermediate(at) => {
            let authority = Directory::at(&at.directory).renew_intermediate(now)?;
            let not_after = jiff::Timestamp::try_from(authority.not_after)
                .map(|time| time.to_string())
                .unwrap_or_default();
            Ok(format!(
                "made intermediate {}, good until {not_after}; a running agent loads it by itself",
                authority.serial
            ))
        }
    }
}

fn trust_domain(text: &str) -> Result<TrustDomain, String> {
    TrustDomain::parse(text).map_err(|error| error.to_string())
}
