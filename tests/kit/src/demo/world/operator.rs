//! What an operator asks of the running programs, by their own commands.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{COMMAND, LOOK, World};
use crate::process::{Finished, Program};

impl World {
    /// An operator's command to cert-agent.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub async fn agent_says(
        &self,
        command: &[&str],
        arguments: &[&str],
    ) -> anyhow::Result<Finished> {
        let log = format!("operator-{}", command.join("-"));
        Program::new(&log, self.layout.bin("cert-agent"), &self.layout.logs())
            .args(command)
            .arg("--admin")
            .arg(self.layout.agent_admin())
            .args(arguments)
            .finish(COMMAND)
            .await
    }

    /// `authz-service explain ID`, from the running program or from its record file.
    ///
    /// # Errors
    ///
    /// When it does not end in time.
    pub async fn explain(&self, decision: &str, from: ExplainFrom) -> anyhow::Result<Finished> {
        self.explain_as(decision, from, "text").await
    }

    /// `authz-service explain ID --output json`.
    ///
    /// # Errors
    ///
    /// When it does not know the decision.
    pub async fn explanation(&self, decision: &str, from: ExplainFrom) -> anyhow::Result<Value> {
        let explained = self.explain_as(decision, from, "json").await?;
        serde_json::from_str(&explained.out)
            .with_context(|| format!("no explanation of {decision}: {}", explained.err))
    }

    async fn explain_as(
        &self,
        decision: &str,
        from: ExplainFrom,
        output: &str,
    ) -> anyhow::Result<Finished> {
        let (option, place) = match from {
            ExplainFrom::Admin => ("--admin", self.layout.authz_admin()),
            ExplainFrom::Records => ("--records", self.layout.records()),
        };
        Program::new(
            "operator-explain",
            self.layout.bin("authz-service"),
            &self.layout.logs(),
        )
        .args(["explain", "--output", output, option])
        .arg(place)
        .arg(decision)
        .finish(COMMAND)
        .await
    }

    /// The record of one decision.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn record(&self, decision: &str) -> anyhow::Result<Value> {
        let deadline = Instant::now() + COMMAND;
        loop {
            let records = std::fs::read_to_string(self.layout.records()).unwrap_or_default();
            let found = records.lines().find(|line| line.contains(decision));
            if let Some(line) = found {
                return Ok(serde_json::from_str(line)?);
            }
            ensure!(
                Instant::now() < deadline,
                "no record of decision {decision}"
            );
            sleep(LOOK).await;
        }
    }

    /// `authz-service status`.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn status(&self) -> anyhow::Result<Value> {
        let status = Program::new(
            "operator-status",
            self.layout.bin("authz-service"),
            &self.layout.logs(),
        )
        .args(["status", "--output", "json", "--admin"])
        .arg(self.layout.authz_admin())
        .finish(COMMAND)
        .await?;
        serde_json::from_str(&status.out).with_context(|| format!("no status: {}", status.err))
    }
}

/// Where `explain` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFrom {
    /// The running program.
    Admin,
    /// The record file.
    Records,
}
