//! Plants one violation of each arrow and each ban in a copy of the workspace, and finds each.

use std::fs;
use std::path::{Path, PathBuf};

use super::finding::Rule;
use super::{Finding, arrows, deployment, graph, manifest, modules};
use crate::run;

/// What is checked of a planted violation.
type Check = fn(&Path) -> anyhow::Result<Vec<Finding>>;

/// A copy of the workspace with what one check finds in it as it is. Removed when dropped.
struct Scratch {
    directory: PathBuf,
    check: Check,
    clean: Vec<Finding>,
}

impl Scratch {
    fn new(name: &str, check: Check) -> Self {
        let directory = std::env::temp_dir().join(format!(
            "countersign-check-deps-{}-{name}",
            std::process::id()
        ));
        let root = directory.join("workspace");
        copy(&run::root(), &root);
        let clean = check(&root).unwrap();
        Self {
            directory,
            check,
            clean,
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.join("workspace")
    }

    /// What is found only while `path` holds what `change` makes of it. The file is put back.
    fn plant(&self, path: &str, change: impl FnOnce(&str) -> String) -> Vec<(Rule, String)> {
        let file = self.root().join(path);
        let before = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{path}: {error}"));
        fs::write(&file, change(&before)).unwrap();
        let found = self.found();
        fs::write(&file, before).unwrap();
        found
    }

    /// What is found only with this line at the top of a file.
    fn plant_line(&self, path: &str, line: &str) -> Vec<(Rule, String)> {
        self.plant(path, |text| format!("{line}\n{text}"))
    }

    /// What is found only with these entries in a section of a member's manifest.
    fn plant_entries(&self, member: &str, section: &str, entries: &str) -> Vec<(Rule, String)> {
        self.plant(&format!("{member}/Cargo.toml"), |text| {
            with_entries(text, section, entries)
        })
    }

    fn found(&self) -> Vec<(Rule, String)> {
        let found = (self.check)(&self.root()).unwrap();
        // What was found before may stand on another line now.
        let known = |finding: &Finding| {
            self.clean.iter().any(|before| {
                before.message == finding.message
                    && file_of(&before.place) == file_of(&finding.place)
            })
        };
        found
            .into_iter()
            .filter(|finding| !known(finding))
            .map(|finding| (finding.rule, finding.to_string()))
            .collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Copies a workspace without what was built, recorded or committed.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let left_out = [
            run::root().join("target"),
            run::root().join(".git"),
            run::root().join("tests/data"),
        ];
        if left_out.contains(&entry.path()) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

fn assert_found(found: &[(Rule, String)], rule: Rule, text: &str) {
    assert!(
        found
            .iter()
            .any(|(of, shown)| *of == rule && shown.contains(text)),
        "no {rule:?} with {text:?} in {found:?}"
    );
}

const CORE: [&str; 3] = ["crates/identity", "crates/evidence", "crates/policy"];

/// Every crate of ours with its directory and what of ours it may not use, from the table of design.
const FORBIDDEN_CRATES: &[(&str, &[&str])] = &[
    (
        "crates/identity",
        &[
            "evidence",
            "policy",
            "artifact",
            "countersign-proto",
            "daemon",
            "authz-service",
            "cert-agent",
        ],
    ),
    (
        "crates/evidence",
        &[
            "policy",
            "artifact",
            "countersign-proto",
            "daemon",
            "authz-service",
            "cert-agent",
        ],
    ),
    (
        "crates/policy",
        &[
            "artifact",
            "countersign-proto",
            "daemon",
            "authz-service",
            "cert-agent",
        ],
    ),
    (
        "crates/artifact",
        &[
            "policy",
            "countersign-proto",
            "daemon",
            "authz-service",
            "cert-agent",
        ],
    ),
    (
        "proto",
        &[
            "identity",
            "evidence",
            "policy",
            "artifact",
            "daemon",
            "authz-service",
            "cert-agent",
        ],
    ),
    (
        "crates/daemon",
        &[
            "evidence",
            "policy",
            "artifact",
            "countersign-proto",
            "authz-service",
            "cert-agent",
        ],
    ),
    ("authz-service", &["cert-agent"]),
    ("cert-agent", &["authz-service"]),
    ("tests/kit", &["authz-service", "cert-agent"]),
];

#[test]
fn each_crate_arrow_is_held_for_normal_and_dev_dependencies() {
    let scratch = Scratch::new("crates", arrows::check);
    for (member, forbidden) in FORBIDDEN_CRATES {
        for section in ["dependencies", "dev-dependencies"] {
            let entries: String = forbidden.iter().map(|name| entry(member, name)).collect();
            let found = scratch.plant_entries(member, section, &entries);
            for name in *forbidden {
                let arrow = format!("may not use `{}`", package(name));
                assert_found(&found, Rule::CrateArrow, &arrow);
            }
        }
    }
}

#[test]
fn test_kit_as_a_normal_dependency_of_what_ships_is_found() {
    let scratch = Scratch::new("kit", arrows::check);
    for member in [
        "crates/identity",
        "crates/evidence",
        "crates/policy",
        "crates/artifact",
        "crates/daemon",
        "proto",
        "authz-service",
        "cert-agent",
    ] {
        let found = scratch.plant_entries(member, "dependencies", "kit.workspace = true\n");
        assert_found(&found, Rule::KitShips, "dev-dependency only");
    }
}

#[test]
fn core_crate_that_depends_on_a_runtime_is_found() {
    let scratch = Scratch::new("core", arrows::check);
    for member in CORE {
        let names = ["tokio", "tokio-util", "tonic", "tracing", "hyper"];
        let yaml = (member != "crates/policy").then_some("serde-saphyr");
        let entries: String = names
            .iter()
            .copied()
            .chain(yaml)
            .map(|name| entry(member, name))
            .collect();
        let found = scratch.plant_entries(member, "dependencies", &entries);
        for name in names.into_iter().chain(yaml) {
            assert_found(&found, Rule::CoreDependency, &format!("`{name}`"));
        }
    }
}

#[test]
fn new_crate_is_found() {
    let scratch = Scratch::new("new", arrows::check);
    let krate = scratch.root().join("tests/planted");
    fs::create_dir_all(krate.join("src")).unwrap();
    fs::write(krate.join("src/lib.rs"), "").unwrap();
    fs::write(
        krate.join("Cargo.toml"),
        "[package]\nname = \"planted\"\nversion = \"1.0.0\"\n",
    )
    .unwrap();
    let joining = |text: &str| text.replace("\"xtask\",", "\"xtask\", \"tests/planted\",");
    let found = scratch.plant("Cargo.toml", joining);
    assert_found(&found, Rule::CrateWithoutRow, "planted");
}

#[test]
fn cargo_feature_is_found() {
    let scratch = Scratch::new("feature", arrows::check);
    let adding = |text: &str| format!("{text}\n[features]\nloose = []\n");
    let found = scratch.plant("authz-service/Cargo.toml", adding);
    assert_found(&found, Rule::CargoFeature, "`loose`");
}

#[test]
fn each_name_that_core_may_not_say_is_found() {
    let scratch = Scratch::new("core-names", modules::check);
    let line = "use tokio::sync::mpsc; use tonic::Status; fn a() { tracing::info!(1) } use serde_yaml::Value; \
                use std::{fmt, net::IpAddr}; use std::fs; fn b() { std::time::SystemTime::now(); Instant::now() }";
    for member in CORE {
        let file = format!("{member}/src/lib.rs");
        let found = scratch.plant_line(&file, line);
        for name in [
            "tokio",
            "tonic",
            "tracing",
            "serde_yaml",
            "std::net",
            "std::fs",
            "SystemTime::now",
            "Instant::now",
        ] {
            assert_found(&found, Rule::CoreName, &file);
            assert_found(&found, Rule::CoreName, &format!("`{name}`"));
        }
    }
}

#[test]
fn generated_types_outside_the_edges_are_found() {
    let scratch = Scratch::new("generated", modules::check);
    let line = "use envoy_types::pb::A; use countersign_proto::feed::A; use spiffe::X509Source;";
    for file in [
        "authz-service/src/lib.rs",
        "authz-service/src/decide.rs",
        "cert-agent/src/lib.rs",
        "cert-agent/src/rotation.rs",
    ] {
        let found = scratch.plant_line(file, line);
        for name in ["envoy_types", "countersign_proto", "spiffe"] {
            assert_found(
                &found,
                Rule::GeneratedTypes,
                &format!("only an edge may name `{name}`"),
            );
            assert_found(&found, Rule::GeneratedTypes, file);
        }
    }
    for file in [
        "authz-service/src/feed.rs",
        "cert-agent/src/handout.rs",
        "cert-agent/src/exec.rs",
    ] {
        assert_eq!(scratch.plant_line(file, line), [], "{file}");
    }
}

#[test]
fn runtime_log_and_clock_in_a_pure_module_are_found() {
    let scratch = Scratch::new("pure", modules::check);
    let line = "use planted::{tokio, tonic, tracing, Clock};";
    for module in [
        "authz-service/src/caller.rs",
        "authz-service/src/target.rs",
        "authz-service/src/target/registry.rs",
        "authz-service/src/question.rs",
        "authz-service/src/decide.rs",
        "authz-service/src/snapshot.rs",
        "cert-agent/src/entitle.rs",
        "cert-agent/src/rotation/plan.rs",
        "cert-agent/src/handout/sds/state.rs",
    ] {
        let found = scratch.plant_line(module, line);
        for name in ["tokio", "tonic", "tracing", "Clock"] {
            assert_found(
                &found,
                Rule::PureName,
                &format!("a pure module may not name `{name}`"),
            );
            assert_found(&found, Rule::PureName, module);
        }
    }
    let writer = "authz-service/src/snapshot/writer.rs";
    assert_eq!(scratch.plant_line(writer, line), []);
}

#[test]
fn permit_made_outside_decide_is_found() {
    let scratch = Scratch::new("permit", modules::check);
    let line = "fn planted() -> Decision { Decision::Permit(Permit { rule }) }";
    for file in ["authz-service/src/app.rs", "authz-service/src/check.rs"] {
        assert_found(&scratch.plant_line(file, line), Rule::PermitMaker, file);
    }
    assert_eq!(scratch.plant_line("authz-service/src/decide.rs", line), []);
}

#[test]
fn private_key_outside_its_rooms_is_found() {
    let scratch = Scratch::new("key", modules::check);
    let line = "fn planted(key: &PrivateKey) {}";
    for file in [
        "cert-agent/src/app.rs",
        "cert-agent/src/entitle.rs",
        "cert-agent/src/rotation/plan.rs",
    ] {
        assert_found(&scratch.plant_line(file, line), Rule::WorkloadKey, file);
    }
    let worker = "cert-agent/src/rotation/worker.rs";
    assert_eq!(scratch.plant_line(worker, line), []);
}

#[test]
fn module_that_was_renamed_is_found() {
    let scratch = Scratch::new("renamed", modules::check);
    let rotation = scratch.root().join("cert-agent/src/rotation");
    fs::rename(rotation.join("plan.rs"), rotation.join("schedule.rs")).unwrap();
    assert_found(&scratch.found(), Rule::MissingModule, "rotation/plan");
}

#[test]
fn dependency_without_reason_or_outside_the_workspace_table_is_found() {
    let scratch = Scratch::new("manifest", manifest::check);
    let header = "[workspace.dependencies]\n";
    let planting = |text: &str| text.replace(header, &format!("{header}planted = \"1\"\n"));
    let found = scratch.plant("Cargo.toml", planting);
    assert_found(&found, Rule::NoReason, "`planted`");
    for section in ["dependencies", "dev-dependencies"] {
        let found = scratch.plant_entries("cert-agent", section, "planted = \"1\"\n");
        assert_found(&found, Rule::NotInherited, "`planted`");
    }
}

#[test]
fn enforcing_envoy_that_fails_open_is_found() {
    let scratch = Scratch::new("envoy", deployment::check);
    let file = "deploy/envoy/enforce/envoy.yaml";
    for instead in ["failure_mode_allow: true", "stat_prefix: planted"] {
        let found = scratch.plant(file, |text| {
            text.replace("failure_mode_allow: false", instead)
        });
        assert_found(&found, Rule::FailsOpen, file);
    }
    fs::remove_dir_all(scratch.root().join("deploy/envoy/enforce")).unwrap();
    assert_found(
        &scratch.found(),
        Rule::FailsOpen,
        "holds no Envoy configuration",
    );
}

#[test]
fn banned_crates_a_foreign_source_a_licence_and_a_second_version_are_found_when_resolved() {
    let scratch = Scratch::new("graph", graph::check);
    let planted = [
        ("openssl", "1.0.0", "MIT"),
        ("openssl-sys", "1.0.0", "MIT"),
        ("native-tls", "1.0.0", "MIT"),
        ("ring", "1.0.0", "MIT"),
        ("planted-gpl", "1.0.0", "GPL-3.0-only"),
        ("bytes", "99.0.0", "MIT"),
    ];
    let entries: String = planted
        .iter()
        .map(|(name, version, licence)| foreign_crate(&scratch, name, version, licence))
        .collect();
    let found = scratch.plant_entries("xtask", "dependencies", &entries);
    for name in ["openssl:", "openssl-sys:", "native-tls:", "ring:"] {
        assert_found(&found, Rule::BannedCrate, name);
    }
    assert_found(&found, Rule::UnknownSource, "openssl:");
    assert_found(&found, Rule::Licence, "planted-gpl:");
    assert_found(&found, Rule::Duplicate, "bytes:");
}

/// Writes an empty crate outside the workspace; returns the entry that depends on it.
fn foreign_crate(scratch: &Scratch, name: &str, version: &str, licence: &str) -> String {
    let krate = scratch.directory.join(name);
    fs::create_dir_all(krate.join("src")).unwrap();
    fs::write(krate.join("src/lib.rs"), "").unwrap();
    let manifest =
        format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nlicense = \"{licence}\"\n");
    fs::write(krate.join("Cargo.toml"), manifest).unwrap();
    format!(
        "planted-as-{name} = {{ path = \"{}\", package = \"{name}\" }}\n",
        krate.display()
    )
}

fn file_of(place: &str) -> &str {
    place.split(':').next().unwrap_or(place)
}

/// The manifest with these entries in this section. Entries of the same name, in any section, make room for them.
fn with_entries(manifest: &str, section: &str, entries: &str) -> String {
    let name = |line: &str| {
        line.split(['.', ' ', '='])
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let planted: Vec<_> = entries.lines().map(name).collect();
    let kept = manifest
        .lines()
        .filter(|line| line.is_empty() || !planted.contains(&name(line)));
    let mut text = kept.collect::<Vec<_>>().join("\n") + "\n";
    let header = format!("[{section}]\n");
    if !text.contains(&header) {
        text.push_str(&header);
    }
    text.replacen(&header, &format!("{header}{entries}"), 1)
}

fn entry(member: &str, name: &str) -> String {
    if ["authz-service", "cert-agent"].contains(&name) {
        // Neither is in the workspace's table, since nothing may depend on it.
        let up = "../".repeat(member.split('/').count());
        format!("{name} = {{ path = \"{up}{name}\" }}\n")
    } else {
        format!("{name}.workspace = true\n")
    }
}

/// The package behind the name that a manifest uses.
fn package(name: &str) -> String {
    let renamed = ["identity", "evidence", "policy", "artifact", "daemon"].contains(&name);
    if renamed {
        format!("countersign-{name}")
    } else {
        name.to_owned()
    }
}
