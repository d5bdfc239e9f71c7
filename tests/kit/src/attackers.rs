//! Programs that try to be taken for a signed one, compiled where they are needed.
//!
//! They are C: an attack on a process's own memory is what Rust calls unsafe, and a linker for Rust is a compiler for C.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// The compiled programs. What each does with which arguments is said at the top of `tests/kit/attackers/*.c`.
#[derive(Debug, Clone)]
pub struct Attackers {
    /// Attacks: `fork`, `exec`, `pass`, `forge`, `forge-shared`, `memory`.
    pub attacker: PathBuf,
    /// A program to be signed; its file is as `exec` wants it, 0711.
    pub program: PathBuf,
    /// A library that nobody signed.
    pub library: PathBuf,
}

impl Attackers {
    /// Compiles them into a directory, which every user can then enter.
    ///
    /// # Errors
    /// No C compiler, or it found fault.
    pub fn compile(directory: &Path) -> anyhow::Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("attackers");
        let into = |name: &str| directory.join(name);
        let (attacker, program, library) =
            (into("attacker"), into("program"), into("libattack.so"));
        let cc = |output: &Path, source: &str, more: &[&str]| {
            compile(output, &sources.join(source), directory, more)
        };
        // All names are bound at the start: an attack that takes the executable out of memory takes its tables with it.
        cc(&library, "attack.c", &["-shared", "-fPIC", "-Wl,-z,now"])?;
        cc(
            &attacker,
            "attacker.c",
            &["-L.", "-lattack", "-Wl,-rpath,$ORIGIN", "-Wl,-z,now"],
        )?;
        cc(&program, "program.c", &["-ldl"])?;
        for (path, mode) in [
            (directory, 0o755),
            (&attacker, 0o755),
            (&library, 0o755),
            (&program, 0o711),
        ] {
            fs::set_permissions(path, Permissions::from_mode(mode))?;
        }
        Ok(Self {
            attacker,
            program,
            library,
        })
    }
}

fn compile(output: &Path, source: &Path, directory: &Path, more: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("cc");
    command
        .current_dir(directory)
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-o"]);
    let made = command
        .arg(output)
        .arg(source)
        .args(more)
        .output()
        .context("cannot run `cc`; `apt-get install gcc` brings it")?;
    if !made.status.success() {
        bail!(
            "`{}` does not compile: {}",
            source.display(),
            String::from_utf8_lossy(&made.stderr)
        );
    }
    Ok(())
}
