//! How each program is started, and what says that it is ready.

use std::net::SocketAddr;

use anyhow::ensure;
use tokio::time::{Instant, sleep};

use super::{COMMAND, LOOK, START, World};
use crate::demo::layout::uid;
use crate::demo::tamper::Tamper;
use crate::images::Recorded;
use crate::process::{Program, Running};
use crate::wire::{Call, plain};
use crate::workspace;

impl World {
    pub(super) async fn push_images(&self) -> anyhow::Result<()> {
        let payments = Recorded::read("prod/payments")?;
        let unsigned = self.tamper == Tamper::PaymentsIsUnsigned;
        let pushed = if unsigned {
            payments.without_signatures("1.4")?
        } else {
            payments.clone()
        };
        pushed.push(self.ports.registry, "prod/payments").await?;
        Recorded::read("prod/rogue")?
            .push(self.ports.registry, "prod/rogue")
            .await?;
        if self.tamper == Tamper::RogueImageIsSigned {
            payments
                .renamed("1.4", "1.0")?
                .push(self.ports.registry, "prod/rogue")
                .await?;
        }
        Ok(())
    }

    pub(super) async fn start_registry(&mut self) -> anyhow::Result<()> {
        let directory = self.layout.base().join("registry");
        let config = directory.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: warn }}\nstorage: {{ filesystem: {{ rootdirectory: {}/storage }} }}\nhttp: {{ addr: \"{}\" }}\n",
            directory.display(),
            self.ports.registry
        );
        std::fs::write(&config, text)?;
        let program = workspace::tool("/usr/bin/docker-registry")?;
        let running = Program::new("registry", program, &self.layout.logs())
            .arg("serve")
            .arg(&config)
            .start()?;
        wait_for_http(
            self.registry.insert(running),
            "the registry",
            self.ports.registry,
            "/v2/",
        )
        .await
    }

    pub(super) async fn start_payments(&mut self) -> anyhow::Result<()> {
        let program = Program::new("payments", self.layout.bin("payments"), &self.layout.logs())
            .user(uid::PAYMENTS);
        let running = program
            .args(["--listen", &self.ports.payments.to_string()])
            .start()?;
        wait_for_http(
            self.payments.insert(running),
            "payments",
            self.ports.payments,
            "/",
        )
        .await
    }

    pub(super) async fn make_authority(&self) -> anyhow::Result<()> {
        let made = Program::new(
            "ca-init",
            self.layout.bin("cert-agent"),
            &self.layout.logs(),
        )
        .args(["ca", "init", "--trust-domain", "acme.test", "--directory"])
        .arg(self.layout.ca())
        .finish(COMMAND)
        .await?;
        ensure!(
            made.code == 0,
            "`cert-agent ca init` ended with {}: {}",
            made.code,
            made.err
        );
        std::fs::copy(self.layout.ca().join("root.pem"), self.layout.root_pem())?;
        Ok(())
    }

    pub(super) async fn start_agent(&mut self) -> anyhow::Result<()> {
        let program = Program::new(
            "cert-agent",
            self.layout.bin("cert-agent"),
            &self.layout.logs(),
        );
        let running = program
            .args(["run", "--config"])
            .arg(self.layout.agent_config())
            .start()?;
        let running = self.agent.insert(running);
        wait_for_http(running, "cert-agent", self.ports.agent_health, "/healthz").await?;
        let admin = self.layout.agent_admin();
        running
            .wait_for("its admin socket", START, |_| admin.exists().then_some(()))
            .await
    }

    /// Starts authz-service and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it does not become ready.
    pub async fn start_authz(&mut self) -> anyhow::Result<()> {
        let program = self.exec("authz-service", "authz-service", "authz-service");
        let running = program
            .args(["run", "--config"])
            .arg(self.layout.authz_config())
            .start()?;
        wait_for_http(
            self.authz.insert(running),
            "authz-service",
            self.ports.authz_health,
            "/readyz",
        )
        .await
    }

    pub(super) async fn start_envoy(&mut self) -> anyhow::Result<()> {
        let program = if self.tamper == Tamper::EnvoyCertificateFromFile {
            self.exec_files("envoy", "envoy", "envoy")?
        } else {
            self.exec("envoy", "envoy", "envoy")
        };
        let running = program
            .arg("--config-path")
            .arg(self.layout.envoy_config())
            .args([
                "--concurrency",
                "1",
                "--disable-hot-restart",
                "--log-level",
                "warn",
            ])
            .start()?;
        wait_for_http(
            self.envoy.insert(running),
            "Envoy",
            self.ports.envoy_admin,
            "/ready",
        )
        .await
    }
}

/// Waits for a 200.
async fn wait_for_http(
    running: &mut Running,
    name: &str,
    address: SocketAddr,
    path: &str,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + START;
    loop {
        let call = Call::new("GET", &address.to_string(), path);
        let last = match plain(address, &call).await {
            Ok(reply) if reply.status == 200 => return Ok(()),
            Ok(reply) => format!("{} {}", reply.status, reply.text()),
            Err(error) => error.to_string(),
        };
        ensure!(running.lives()?, "{name} ended: {}", running.last_words());
        ensure!(
            Instant::now() < deadline,
            "{name} is not ready within {START:?}: {last}: {}",
            running.last_words()
        );
        sleep(LOOK).await;
    }
}
