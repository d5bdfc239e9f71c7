//! The Debian packages that the demo and the tests run.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::run;

/// A program and the Debian package that brings it.
struct Package {
    name: &'static str,
    /// Present exactly if the package is installed.
    file: &'static str,
    used_for: &'static str,
}

const PACKAGES: [Package; 5] = [
    Package {
        name: "docker-registry",
        file: "/usr/bin/docker-registry",
        used_for: "the registry behind the gate",
    },
    Package {
        name: "skopeo",
        file: "/usr/bin/skopeo",
        used_for: "a client that pulls images",
    },
    Package {
        name: "nghttp2-client",
        file: "/usr/bin/h2load",
        used_for: "load on the Check path",
    },
    Package {
        name: "ca-certificates",
        file: "/usr/sbin/update-ca-certificates",
        used_for: "the package registries' TLS",
    },
    Package {
        name: "curl",
        file: "/usr/bin/curl",
        used_for: "the commands that the demo prints",
    },
];

/// `apt-get` starts a daemon it installs, unless this program says no (exit code 101).
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";
const SYSTEMCTL: &str = "/usr/bin/systemctl";
const POLICY_RC_D: &str = "/usr/sbin/policy-rc.d";

/// Installs the packages that are missing, without starting any service.
///
/// # Errors
///
/// When a package is missing and we are not root, or `apt-get` fails.
pub(super) fn bring() -> anyhow::Result<()> {
    let missing: Vec<&Package> = PACKAGES
        .iter()
        .filter(|package| !Path::new(package.file).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for package in &missing {
        run::say(format_args!(
            "setup: installing Debian package {}: {}",
            package.name, package.used_for
        ));
    }
    let names: Vec<&str> = missing.iter().map(|package| package.name).collect();
    install(&names)?;
    names.iter().try_for_each(|name| keep_off(name))
}

/// A package with a service leaves it enabled for the next boot, on a machine with systemd: we wanted its program only.
fn keep_off(package: &str) -> anyhow::Result<()> {
    let unit = format!("{package}.service");
    let installed = Path::new("/lib/systemd/system").join(&unit).exists();
    if installed && Path::new(SYSTEMCTL).exists() {
        run::step(
            &format!("leave {unit} off"),
            Command::new(SYSTEMCTL).args(["--quiet", "disable", &unit]),
        )?;
    }
    Ok(())
}

/// Installs packages by name.
///
/// # Errors
///
/// When we are not root, or `apt-get` fails.
pub(super) fn install(names: &[&str]) -> anyhow::Result<()> {
    if !run::is_root()? {
        bail!(
            "installing Debian packages needs root: run `apt-get install {}` as root, then this again",
            names.join(" ")
        );
    }
    run::say(format_args!("setup: this takes about half a minute"));
    let guard = ServiceGuard::new()?;
    run::step("apt-get update", apt_get().args(["update", "-q"]))?;
    run::step(
        "apt-get install",
        apt_get()
            .args(["install", "-q", "-y", "--no-install-recommends"])
            .args(names),
    )?;
    guard.remove()
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .args(["-o", "Dpkg::Use-Pty=0"]);
    command
}

/// Keeps packages from starting services while it stands. A guard that was there before stays.
struct ServiceGuard {
    ours: bool,
}

impl ServiceGuard {
    fn new() -> anyhow::Result<Self> {
        if Path::new(POLICY_RC_D).exists() {
            return Ok(Self { ours: false });
        }
        std::fs::write(POLICY_RC_D, NO_SERVICES).context("cannot write /usr/sbin/policy-rc.d")?;
        std::fs::set_permissions(POLICY_RC_D, std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }

    fn remove(mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.ours) {
            std::fs::remove_file(POLICY_RC_D).context("cannot remove /usr/sbin/policy-rc.d")?;
        }
        Ok(())
    }
}

impl Drop for ServiceGuard {
    fn drop(&mut self) {
        if self.ours {
            drop(std::fs::remove_file(POLICY_RC_D));
        }
    }
}
