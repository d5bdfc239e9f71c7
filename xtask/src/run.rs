//! Runs a child command and tells the reader how long it took.

use std::fmt::Arguments;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};

/// Prints one line.
pub(crate) fn say(line: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // A reader who closed the pipe is no reason to fail.
    drop(writeln!(out, "{line}"));
    drop(out.flush());
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root());
    command
}

/// Runs `command` with our own output, between a line that says what starts and one that says how long it took.
pub(crate) fn step(name: &str, command: &mut Command) -> anyhow::Result<()> {
    say(format_args!("==> {name}"));
    let start = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("`{}` did not start", program(command)))?;
    say(format_args!("    {name}: {} s", start.elapsed().as_secs()));
    ensure!(
        status.success(),
        "{name} failed: `{}` ended with {status}",
        program(command)
    );
    Ok(())
}

/// Runs `command` and returns what it printed; its error output is part of the error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{}` did not start", program(command)))?;
    ensure!(
        output.status.success(),
        "`{}` ended with {}: {}",
        program(command),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Refuses at once to go on without root.
///
/// # Errors
///
/// When the user is not root: the error says what needs root and why.
pub(crate) fn need_root(what: &str, why: &str) -> anyhow::Result<()> {
    ensure!(is_root()?, "{what} need root: {why}; run as root");
    Ok(())
}

/// Whether we run as root.
pub(crate) fn is_root() -> anyhow::Result<bool> {
    Ok(output(Command::new("id").arg("-u"))?.trim() == "0")
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
