//! Every real program of one run: started in order, stopped by its own pid.

mod operator;
mod signals;
mod starting;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::unistd::Uid;

pub use operator::ExplainFrom;

use super::config;
use super::layout::Layout;
use super::ports::Ports;
use super::programs::{self, Programs};
use super::tamper::Tamper;
use crate::process::{Program, Running};

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

/// How long a program may take to be ready: a debug build on a loaded machine.
const START: Duration = Duration::from_secs(40);
/// How long an operator's command may take.
const COMMAND: Duration = Duration::from_secs(20);
/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(50);
