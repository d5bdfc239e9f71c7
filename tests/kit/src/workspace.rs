//! Where things are in the source tree, and the programs that cargo built from it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// The workspace's root.
pub fn root() -> PathBuf {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR"));
    kit.ancestors().nth(2).unwrap_or(kit).to_owned()
}

/// A program of the workspace, beside the one that asks: cargo puts tests one directory below programs.
///
/// # Errors
///
/// When it is not built.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let ours = std::env::current_exe().context("we do not know our own path")?;
    let found = ours
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} is not built: `cargo build --workspace --bins --locked` builds it")
    })
}

/// A tool that `cargo xtask setup` brings.
///
/// # Errors
///
/// When it is not there.
pub fn tool(path: impl Into<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = path.into();
    ensure!(
        path.is_file(),
        "{} is missing: `cargo xtask setup` brings it",
        path.display()
    );
    Ok(path)
}

/// Envoy, as `cargo xtask setup` leaves it.
///
/// # Errors
///
/// When it is not there.
pub fn envoy() -> anyhow::Result<PathBuf> {
    tool(root().join("target/tools/envoy-1.40.0"))
}
