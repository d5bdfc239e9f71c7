//! A program that a test runs: started, waited for, stopped by its own pid.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// A program to run.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    logs: PathBuf,
}

impl Program {
    /// `name` names the log files `<logs>/<name>.out` and `.err`.
    pub fn new(name: &str, path: impl AsRef<OsStr>, logs: &Path) -> Self {
        Self {
            name: name.to_owned(),
            command: Command::new(path),
            logs: logs.to_owned(),
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs under this uid and the gid of the same number.
    #[must_use]
    pub fn user(mut self, uid: u32) -> Self {
        self.command.uid(uid).gid(uid);
        self
    }

    /// Starts the program in a process group of its own, so that a Ctrl-C reaches only us.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start(mut self) -> anyhow::Result<Running> {
        let out = self.logs.join(format!("{}.out", self.name));
        let err = self.logs.join(format!("{}.err", self.name));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot create {}", path.display()))
        };
        self.command
            .stdin(Stdio::null())
            .stdout(create(&out)?)
            .stderr(create(&err)?);
        self.command.process_group(0).kill_on_drop(true);
        let child = self
            .command
            .spawn()
            .with_context(|| format!("{} did not start", self.name))?;
        let Some(pid) = child.id() else {
            bail!("{} has no pid", self.name)
        };
        Ok(Running {
            name: self.name,
            child,
            pid: Pid::from_raw(i32::try_from(pid)?),
            out,
            err,
        })
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    ///
    /// When it does not start or does not end in time.
    pub async fn finish(self, within: Duration) -> anyhow::Result<Finished> {
        let mut running = self.start()?;
        let code = running.ended(within).await?;
        Ok(Finished {
            code,
            out: running.out(),
            err: running.err(),
        })
    }
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its exit code; 128 + the signal if one ended it.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it complained of.
    pub err: String,
}

/// A program that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    pid: Pid,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// What it printed so far.
    pub fn out(&self) -> String {
        read(&self.out)
    }

    /// What it complained of so far.
    pub fn err(&self) -> String {
        read(&self.err)
    }

    /// Waits until `state` gives a value. Says what the program printed last if it ends first or the time is up.
    ///
    /// # Errors
    ///
    /// When the program ends or the time is up.
    pub async fn wait_for<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut state: impl FnMut(&Self) -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(value) = state(self) {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended with {status} before {what}: {}",
                    self.name,
                    self.last_words()
                );
            }
            if Instant::now() >= deadline {
                bail!(
                    "{}: {what} did not happen within {within:?}: {}",
                    self.name,
                    self.last_words()
                );
            }
            sleep(LOOK).await;
        }
    }

    /// Whether it still runs.
    ///
    /// # Errors
    ///
    /// When it cannot be asked.
    pub fn lives(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When the program is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Waits for its end and gives its exit code, or 128 + the signal that ended it.
    ///
    /// # Errors
    ///
    /// When the time is up.
    pub async fn ended(&mut self, within: Duration) -> anyhow::Result<i32> {
        match timeout(within, self.child.wait()).await {
            Ok(status) => Ok(code(status?)),
            Err(_elapsed) => bail!(
                "{} did not end within {within:?}: {}",
                self.name,
                self.last_words()
            ),
        }
    }

    /// Asks it to end, and ends it if it does not.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn stop(&mut self) -> anyhow::Result<i32> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(code(status));
        }
        self.signal(Signal::SIGTERM)?;
        match self.ended(GRACE).await {
            Ok(code) => Ok(code),
            Err(_late) => self.kill().await,
        }
    }

    /// Ends it at once.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn kill(&mut self) -> anyhow::Result<i32> {
        self.child.start_kill()?;
        self.ended(GRACE).await
    }

    /// The last lines it complained of, else printed.
    pub fn last_words(&self) -> String {
        let text = if self.err().trim().is_empty() {
            self.out()
        } else {
            self.err()
        };
        let lines: Vec<&str> = text.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// How often a state is looked at.
const LOOK: Duration = Duration::from_millis(25);
/// How long a program may take to end by itself.
const GRACE: Duration = Duration::from_secs(10);
