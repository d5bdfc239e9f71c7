//! What the rows share: the running world, its actors, and what earlier rows left for later ones.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use rustls::ClientConfig;
use serde_json::Value;

use super::actors::Actors;
use super::row::Findings;
use super::world::World;
use crate::wire::{Call, Reply, WireError, once};

/// The demo while it runs.
#[derive(Debug)]
pub struct Stage {
    /// The programs.
    pub world: World,
    /// The callers.
    pub actors: Actors,
    /// The decision of row 6, which rows 8 and 15 explain.
    pub thiefs_decision: Option<String>,
    /// The status that each row's request got where Envoy lets through what authz-service does not answer.
    pub fail_open: BTreeMap<u8, u16>,
}

impl Stage {
    /// Takes a world that runs.
    ///
    /// # Errors
    ///
    /// When the actors' files cannot be read or written; the world comes back, so that it can be stopped.
    pub fn set(world: World) -> Result<Self, (anyhow::Error, Box<World>)> {
        match Actors::gather(&world) {
            Ok(actors) => Ok(Self {
                world,
                actors,
                thiefs_decision: None,
                fail_open: BTreeMap::new(),
            }),
            Err(error) => Err((error, Box::new(world))),
        }
    }

    /// The same request on the listener with `failure_mode_allow: true`: a denial must not depend on that setting.
    pub(super) async fn behind_fail_open(
        &mut self,
        row: u8,
        actor: &str,
        call: &Call,
    ) -> anyhow::Result<()> {
        let reply = once(
            self.extra("failure-mode-allow")?,
            self.actors.client(actor)?,
            call,
        )
        .await?;
        self.fail_open.insert(row, reply.status);
        Ok(())
    }

    /// One request to Envoy's shipped listener as `client`.
    pub(super) async fn call(
        &self,
        client: Arc<ClientConfig>,
        call: &Call,
    ) -> Result<Reply, WireError> {
        once(self.world.ports.envoy, client, call).await
    }

    /// Where a listener with one defence taken away is.
    ///
    /// # Errors
    ///
    /// When there is none of that name.
    pub fn extra(&self, name: &str) -> anyhow::Result<SocketAddr> {
        self.world
            .ports
            .extra
            .get(name)
            .copied()
            .with_context(|| format!("no listener {name}"))
    }

    /// The registry as it is asked for through Envoy.
    pub(super) fn registry_host(&self) -> String {
        format!("localhost:{}", self.world.ports.envoy.port())
    }

    /// Runs the frontend by `cert-agent exec` and reads what it printed last.
    pub(super) async fn frontend(&self, log: &str, arguments: &[&str]) -> anyhow::Result<Value> {
        let program = self.world.exec(log, "frontend", "frontend").args(arguments);
        let finished = program.finish(FRONTEND_TIME).await?;
        let line = finished
            .out
            .lines()
            .last()
            .with_context(|| format!("the frontend printed nothing: {}", finished.err))?;
        serde_json::from_str(line).with_context(|| format!("the frontend printed `{line}`"))
    }

    /// Notes a reply, and holds its status and reason to what is wanted.
    pub(super) fn denied(findings: &mut Findings, reply: &Reply, status: u16, reason: &str) {
        let said = reply.reason();
        findings.got(format!(
            "{} {}",
            reply.status,
            said.as_deref().unwrap_or("without a reason")
        ));
        findings.same("status", &reply.status, &status);
        findings.same("reason", &said.as_deref(), &Some(reason));
        findings.holds(
            "the reply carries a decision id",
            reply.decision().is_some(),
        );
    }
}

/// The request that the frontend may make.
pub fn charge() -> Call {
    Call::new("POST", "payments.acme.test", "/v1/charges")
}

/// A fetch of the first SVID and one request, on a loaded machine.
const FRONTEND_TIME: std::time::Duration = std::time::Duration::from_mins(1);
