//! The programs of one run: copied so that only root can read them, and signed with the run's own keys.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use evidence::digest::Digest;
use identity::PrivateKey;

use super::layout::Layout;
use super::tamper::Tamper;
use crate::attackers::Attackers;
use crate::{signer, workspace};

/// The signed programs and the one that is not.
#[derive(Debug)]
pub struct Programs {
    /// Programs that try to be taken for a signed one.
    pub attackers: Attackers,
    /// The digest of the program one byte longer than the frontend.
    pub rogue: Digest,
}

/// Copies, signs, and writes the public keys into the policy directory.
///
/// # Errors
///
/// When a program is not built or a tool is missing.
pub fn install(layout: &Layout, tamper: &Tamper) -> anyhow::Result<Programs> {
    let (programs, infrastructure) = (PrivateKey::generate()?, PrivateKey::generate()?);
    let keys = layout.policy().join("keys");
    std::fs::write(keys.join("programs.pub"), programs.public_key().to_pem())?;
    std::fs::write(
        keys.join("infrastructure.pub"),
        infrastructure.public_key().to_pem(),
    )?;
    std::fs::copy(
        workspace::root().join("tests/data/keys/release.pub"),
        keys.join("images.pub"),
    )?;

    // Run by root, outside the chain: the operating system's packages vouch for the agent itself.
    copy(
        &workspace::program("cert-agent")?,
        &layout.bin("cert-agent"),
        0o755,
    )?;
    copy(
        &workspace::program("payments")?,
        &layout.bin("payments"),
        0o755,
    )?;
    let caller = workspace::program("caller")?;
    for (source, name, key) in [
        (
            workspace::program("authz-service")?,
            "authz-service",
            &infrastructure,
        ),
        (workspace::envoy()?, "envoy", &infrastructure),
        (caller.clone(), "frontend", &programs),
        (different(&caller, "puller", layout)?, "puller", &programs),
        (workspace::tool("/usr/bin/skopeo")?, "skopeo", &programs),
    ] {
        let product = if name == "skopeo" { "puller" } else { name };
        let digest = copy(&source, &layout.bin(name), PROGRAM_MODE)?;
        signer::place(
            &layout.evidence(),
            &digest,
            &signer::sign(&digest, product, key)?,
        )?;
    }
    // The program that the attackers try to pass for has a digest of its own, so that its signature is its own too.
    let attacked = copy(
        &different(&caller, "attacked", layout)?,
        &layout.bin("attacked"),
        PROGRAM_MODE,
    )?;
    copy(
        &layout.bin("attacked"),
        &layout.bin("attacked-readable"),
        0o755,
    )?;
    if *tamper != Tamper::AttackedIsUnsigned {
        signer::place(
            &layout.evidence(),
            &attacked,
            &signer::sign(&attacked, "frontend", &programs)?,
        )?;
    }
    let rogue = rogue(layout)?;
    if *tamper == Tamper::RogueIsSigned {
        signer::place(
            &layout.evidence(),
            &rogue,
            &signer::sign(&rogue, "frontend", &programs)?,
        )?;
    }
    let attackers = Attackers::compile(&layout.base().join("attackers"))?;
    Ok(Programs { attackers, rogue })
}

/// The frontend with one byte more: the same program to look at, and nobody signed it.
fn rogue(layout: &Layout) -> anyhow::Result<Digest> {
    let path = layout.bin("rogue");
    let mut bytes = std::fs::read(layout.bin("frontend"))?;
    bytes.push(0);
    write(&path, &bytes, PROGRAM_MODE)
}

/// The puller's holder is the caller under another digest, so that one signature says one product.
fn different(program: &Path, name: &str, layout: &Layout) -> anyhow::Result<PathBuf> {
    let path = layout.bin(&format!("{name}.unsigned"));
    let mut bytes =
        std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    bytes.extend_from_slice(name.as_bytes());
    write(&path, &bytes, PROGRAM_MODE)?;
    Ok(path)
}

fn copy(from: &Path, to: &Path, mode: u32) -> anyhow::Result<Digest> {
    let bytes = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    write(to, &bytes, mode)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<Digest> {
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(Digest::sha256_of(bytes))
}

/// Its own uid may run it and not read it, so that the process is not dumpable.
const PROGRAM_MODE: u32 = 0o711;
