//! The arrows between our crates, read from what each manifest declares.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{Dependency, DependencyKind, Metadata, MetadataCommand, Package};

use super::finding::{Finding, Rule};

/// One crate of ours: what of ours it may use, and whether it is core.
struct Row {
    name: &'static str,
    may_use: &'static [&'static str],
    room: Room,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    /// No clock, no I/O, no tasks, no logging.
    Core,
    /// Ships with a program.
    Ships,
    /// Tests and tools: may use everything.
    Bench,
}

/// The table of arrows. A crate that is not in it is a finding.
const ROWS: &[Row] = &[
    Row {
        name: "countersign-identity",
        may_use: &[],
        room: Room::Core,
    },
    Row {
        name: "countersign-evidence",
        may_use: &["countersign-identity"],
        room: Room::Core,
    },
    Row {
        name: "countersign-policy",
        may_use: &["countersign-identity", "countersign-evidence"],
        room: Room::Core,
    },
    Row {
        name: "countersign-artifact",
        may_use: &["countersign-identity", "countersign-evidence"],
        room: Room::Ships,
    },
    Row {
        name: "countersign-proto",
        may_use: &[],
        room: Room::Ships,
    },
    Row {
        name: "countersign-daemon",
        may_use: &["countersign-identity"],
        room: Room::Ships,
    },
    Row {
        name: KIT,
        may_use: LIBRARIES,
        room: Room::Bench,
    },
    Row {
        name: "authz-service",
        may_use: LIBRARIES,
        room: Room::Ships,
    },
    Row {
        name: "cert-agent",
        may_use: LIBRARIES,
        room: Room::Ships,
    },
    Row {
        name: "countersign-e2e",
        may_use: EVERYTHING,
        room: Room::Bench,
    },
    Row {
        name: "xtask",
        may_use: EVERYTHING,
        room: Room::Bench,
    },
];

const LIBRARIES: &[&str] = &[
    "countersign-identity",
    "countersign-evidence",
    "countersign-policy",
    "countersign-artifact",
    "countersign-proto",
    "countersign-daemon",
];

const EVERYTHING: &[&str] = &[
    "countersign-identity",
    "countersign-evidence",
    "countersign-policy",
    "countersign-artifact",
    "countersign-proto",
    "countersign-daemon",
    "authz-service",
    "cert-agent",
    KIT,
];

const KIT: &str = "countersign-kit";

/// Crates whose very presence would let a core crate run tasks, do I/O or log. A name stands for its family too: `tokio` for `tokio-util`.
const NOT_IN_CORE: &[&str] = &[
    "tokio",
    "tonic",
    "tracing",
    "serde_yaml",
    "hyper",
    "reqwest",
    "nix",
    "rustix",
    "parking_lot",
    "opentelemetry",
];

/// Text in, values out: only the policy reads YAML.
const YAML: &str = "serde-saphyr";

/// Checks what each of our crates declares, for normal, build and dev dependencies alike.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let metadata = declared(root)?;
    let ours: BTreeSet<_> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    Ok(metadata
        .packages
        .iter()
        .flat_map(|package| check_package(package, &ours))
        .collect())
}

fn declared(root: &Path) -> anyhow::Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("cargo could not read the workspace")
}

fn check_package(package: &Package, ours: &BTreeSet<String>) -> Vec<Finding> {
    let Some(row) = ROWS.iter().find(|row| row.name == package.name.as_str()) else {
        return vec![Rule::CrateWithoutRow.at(
            &package.name,
            "add it to the table of arrows in xtask/src/check_deps/arrows.rs",
        )];
    };
    let mut findings: Vec<_> = package
        .dependencies
        .iter()
        .filter_map(|dependency| check_dependency(row, dependency, ours))
        .collect();
    findings.extend(package.features.keys().map(|feature| {
        Rule::CargoFeature.at(
            row.name,
            format!("feature `{feature}`: no cargo feature of ours changes behaviour"),
        )
    }));
    findings
}

fn check_dependency(
    row: &Row,
    dependency: &Dependency,
    ours: &BTreeSet<String>,
) -> Option<Finding> {
    let name = dependency.name.as_str();
    if name == KIT {
        let ships = row.room != Room::Bench && dependency.kind != DependencyKind::Development;
        return ships
            .then(|| Rule::KitShips.at(row.name, "the test kit may be a dev-dependency only"));
    }
    if ours.contains(name) {
        let allowed = row.may_use.contains(&name);
        return (!allowed).then(|| Rule::CrateArrow.at(row.name, format!("may not use `{name}`")));
    }
    let yaml_outside_policy = name == YAML && row.name != "countersign-policy";
    let not_in_core =
        yaml_outside_policy || NOT_IN_CORE.iter().any(|banned| is_of_family(name, banned));
    let in_core = row.room == Room::Core && dependency.kind != DependencyKind::Development;
    (in_core && not_in_core)
        .then(|| Rule::CoreDependency.at(row.name, format!("a core crate may not use `{name}`")))
}

fn is_of_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}
