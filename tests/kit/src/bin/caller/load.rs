//! Many requests on many connections, and which certificates were seen doing it.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use kit::wire::Connection;
use serde_json::json;

use crate::identity::Identity;
use crate::{PATIENCE, Target, say};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    target: Target,
    /// At least this many requests.
    #[arg(long)]
    requests: usize,
    /// At least this many handshakes.
    #[arg(long)]
    handshakes: usize,
    /// At least this many serials of each side.
    #[arg(long)]
    serials: usize,
    /// Ends after this many seconds all the same.
    #[arg(long)]
    seconds: u64,
}

/// Runs until everything asked for was seen, or the time is up.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let identity = Identity::wait(PATIENCE).await?;
    let start = Instant::now();
    let mut seen = Seen::default();
    while !seen.enough(arguments) && start.elapsed() < Duration::from_secs(arguments.seconds) {
        one_connection(&identity, arguments, &mut seen).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    say(&json!({
        "requests": seen.requests,
        "handshakes": seen.handshakes,
        "failed": seen.failed,
        "failures": seen.failures,
        "client_serials": seen.client_serials.len(),
        "server_serials": seen.server_serials.len(),
        "seconds": seconds,
        "per_second": rate(seen.requests, seconds),
    }));
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Default)]
struct Seen {
    requests: usize,
    handshakes: usize,
    failed: usize,
    failures: Vec<String>,
    client_serials: BTreeSet<String>,
    server_serials: BTreeSet<String>,
}

impl Seen {
    fn enough(&self, wanted: &Arguments) -> bool {
        self.requests >= wanted.requests
            && self.handshakes >= wanted.handshakes
            && self.client_serials.len() >= wanted.serials
            && self.server_serials.len() >= wanted.serials
    }

    fn failure(&mut self, text: String) {
        self.failed += 1;
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(text);
        }
    }
}

async fn one_connection(identity: &Identity, arguments: &Arguments, seen: &mut Seen) {
    let opened = async {
        let serial = identity.serial()?;
        anyhow::Ok((
            serial,
            Connection::open(arguments.target.proxy, identity.client()?).await?,
        ))
    };
    let (serial, mut connection) = match opened.await {
        Ok(opened) => opened,
        Err(error) => return seen.failure(format!("handshake: {error:#}")),
    };
    seen.handshakes += 1;
    let per_connection = arguments.requests.div_ceil(arguments.handshakes.max(1));
    for _ in 0..per_connection {
        seen.requests += 1;
        match connection.send(&arguments.target.call()).await {
            Ok(reply) if reply.status == 200 => {}
            Ok(reply) => seen.failure(format!("{} {}", reply.status, reply.text())),
            Err(error) => seen.failure(error.to_string()),
        }
    }
    // Only now has the proxy taken this certificate: in TLS 1.3 a refusal comes after the handshake.
    let news =
        seen.client_serials.insert(serial) | seen.server_serials.insert(connection.server_serial);
    if news {
        say(
            &json!({ "client_serials": seen.client_serials.len(), "server_serials": seen.server_serials.len() }),
        );
    }
}

fn rate(requests: usize, seconds: f64) -> f64 {
    u32::try_from(requests).map_or(f64::MAX, |requests| (f64::from(requests) / seconds).round())
}

/// Enough to tell what went wrong.
const MAX_FAILURES: usize = 5;
