//! Every real program of one run: started in order, stopped by its own pid.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::config;
use super::layout::{Layout, uid};
use super::ports::Ports;
use super::programs::{self, Programs};
use super::tamper::Tamper;
use crate::images::Recorded;
use crate::process::{Finished, Program, Running};
use crate::wire::{Call, plain};
use crate::workspace;

/// One run's programs.
#[derive(Debug)]
pub struct World {
    /// Where its files are.
    pub layout: Layout,
    /// Where it listens.
    pub ports: Ports,
    /// What is broken in it on purpose.
    pub tamper: Tamper,
    /// What it runs.
    pub programs: Programs,
    registry: Option<Running>,
    payments: Option<Running>,
    agent: Option<Running>,
    authz: Option<Running>,
    envoy: Option<Running>,
    holders: Vec<Running>,
}

impl World {
    /// Prepares a run under `base`: nothing is started yet, so that whoever starts it can also stop it.
    ///
    /// # Errors
    ///
    /// When we are not root, a program is not built, or a file cannot be written.
    pub fn prepare(base: &Path, tamper: Tamper) -> anyhow::Result<Self> {
        let root = Uid::effective().is_root();
        ensure!(
            root,
            "the demo needs root: it runs each program under a uid and in a cgroup of its own"
        );
        let layout = Layout::new(base)?;
        let ports = Ports::pick()?;
        let programs = programs::install(&layout, &tamper)?;
        config::write(&layout, &ports, &tamper)?;
        Ok(Self {
            layout,
            ports,
            tamper,
            programs,
            registry: None,
            payments: None,
            agent: None,
            authz: None,
            envoy: None,
            holders: Vec::new(),
        })
    }

    /// Starts everything, and says what it does.
    ///
    /// # Errors
    ///
    /// When something does not start: the error holds its last words.
    pub async fn start(&mut self, say: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
        say("starting the registry and the payments service, pushing the recorded images");
        self.start_registry().await?;
        self.start_payments().await?;
        self.push_images().await?;
        say("making a CA, starting cert-agent");
        self.make_authority().await?;
        self.start_agent().await?;
        say("starting authz-service and Envoy by `cert-agent exec`");
        self.start_authz().await?;
        self.start_envoy().await?;
        say("starting a holder of each identity that the demo shows");
        self.hold("frontend").await?;
        self.hold("puller").await
    }

    /// `cert-agent exec` of a program in `bin`.
    pub fn exec(&self, log: &str, grant: &str, program: &str) -> Program {
        self.exec_with(log, grant, program, &[])
    }

    /// `cert-agent exec` with certificate files in the actor's directory.
    fn exec_with(&self, log: &str, grant: &str, program: &str, options: &[&str]) -> Program {
        Program::new(log, self.layout.bin("cert-agent"), &self.layout.logs())
            .arg("exec")
            .arg("--admin")
            .arg(self.layout.agent_admin())
            .args(["--grant", grant])
            .args(options)
            .arg("--")
            .arg(self.layout.bin(program))
    }

    /// `cert-agent exec --files` into the directory of the actor `name`.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made.
    pub fn exec_files(&self, log: &str, grant: &str, program: &str) -> anyhow::Result<Program> {
        let files = self.layout.actor(log)?;
        Ok(self.exec_with(
            log,
            grant,
            program,
            &["--files", &files.display().to_string()],
        ))
    }

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

    /// Kills authz-service itself, without a word. `cert-agent exec`, which began it, ends with it.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub async fn kill_authz(&mut self) -> anyhow::Result<()> {
        let path = self.layout.bin("authz-service");
        let pids = pids_of(&path)?;
        ensure!(!pids.is_empty(), "no process runs {}", path.display());
        for pid in pids {
            kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        }
        let mut authz = self.authz.take().context("authz-service does not run")?;
        authz.ended(COMMAND).await.map(drop)
    }

    /// Hands over the running authz-service: `cert-agent exec`, which passes signals and the exit code on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn take_authz(&mut self) -> anyhow::Result<Running> {
        self.authz.take().context("authz-service does not run")
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

    /// Halts the registry, which then answers nothing, or lets it go on.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn signal_registry(&self, signal: Signal) -> anyhow::Result<()> {
        self.registry
            .as_ref()
            .context("the registry does not run")?
            .signal(signal)
    }

    async fn start_envoy(&mut self) -> anyhow::Result<()> {
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

    async fn hold(&mut self, grant: &str) -> anyhow::Result<()> {
        self.hold_another(grant, grant).await
    }

    /// Starts a signed program that holds the grant's identity, with its certificate in the files of the actor `name`: the
    /// demo's own hole, so that other programs can call as this actor.
    ///
    /// # Errors
    ///
    /// When it gets no identity.
    pub async fn hold_another(&mut self, grant: &str, name: &str) -> anyhow::Result<()> {
        let holder = self.exec_files(name, grant, grant)?.arg("hold").start()?;
        self.holders.push(holder);
        let holder = self.holders.last_mut().context("just pushed")?;
        holder
            .wait_for("an identity", START, |holder| {
                holder.out().contains("\"serial\"").then_some(())
            })
            .await
    }

    async fn push_images(&self) -> anyhow::Result<()> {
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

    async fn start_registry(&mut self) -> anyhow::Result<()> {
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

    async fn start_payments(&mut self) -> anyhow::Result<()> {
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

    async fn make_authority(&self) -> anyhow::Result<()> {
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

    async fn start_agent(&mut self) -> anyhow::Result<()> {
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

    /// Stops everything, last started first.
    ///
    /// # Errors
    ///
    /// When something does not stop.
    pub async fn stop(mut self, files: Files) -> anyhow::Result<()> {
        let mut failed = Vec::new();
        let callers = self
            .holders
            .iter_mut()
            .chain(&mut self.envoy)
            .chain(&mut self.authz);
        for running in callers
            .chain(&mut self.agent)
            .chain(&mut self.payments)
            .chain(&mut self.registry)
        {
            if let Err(error) = running.stop().await {
                failed.push(error.to_string());
            }
        }
        ensure!(failed.is_empty(), "{}", failed.join("; "));
        match files {
            Files::Remove => self.layout.remove(),
            Files::Leave => Ok(()),
        }
    }
}

/// What becomes of a run's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// They are removed.
    Remove,
    /// They stay, for whoever asks what went wrong.
    Leave,
}

/// Where `explain` reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExplainFrom {
    /// The running program.
    Admin,
    /// The record file.
    Records,
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

/// The processes that run exactly this file.
fn pids_of(program: &Path) -> anyhow::Result<Vec<i32>> {
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let runs = std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program);
        if let (true, Some(pid)) = (
            runs,
            entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok()),
        ) {
            pids.push(pid);
        }
    }
    Ok(pids)
}

/// How long a program may take to be ready: a debug build on a loaded machine.
const START: Duration = Duration::from_secs(40);
/// How long an operator's command may take.
const COMMAND: Duration = Duration::from_secs(20);
/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(50);
