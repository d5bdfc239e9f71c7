//! What is compiled in: banned crates, sources, licences, second versions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use cargo_metadata::{Metadata, MetadataCommand, Package};

use super::duplicates;
use super::finding::{Finding, Rule};
use super::licence;
use crate::run;

/// Crates that may not be compiled in, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "the one crypto provider is aws-lc-rs"),
    ("openssl-sys", "the one crypto provider is aws-lc-rs"),
    ("native-tls", "the one TLS is rustls"),
    ("ring", "the one crypto provider is aws-lc-rs"),
];

/// Where crates may come from; our own have no source.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What we ship for. Only what is compiled for one of these counts.
const PLATFORMS: &[&str] = &["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// A crate that is compiled in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Compiled {
    name: String,
    version: String,
}

/// Resolves the workspace and checks everything that is compiled for it.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let metadata = resolved(root)?;
    let compiled = compiled(root)?;
    let mut findings = Vec::new();
    for krate in &compiled {
        findings.extend(banned(krate));
        match find(&metadata, krate) {
            Some(package) => findings.extend(Origin::of(package, &metadata).check()),
            None => findings.push(
                Rule::UnknownSource.at(&krate.name, "cargo tree names it, cargo metadata does not"),
            ),
        }
    }
    findings.extend(duplicates(&compiled));
    Ok(findings)
}

fn banned(krate: &Compiled) -> Option<Finding> {
    let (name, reason) = BANNED.iter().find(|(name, _)| *name == krate.name)?;
    Some(Rule::BannedCrate.at(
        name,
        format!("may not be compiled in: {reason}; see `cargo tree -i {name}`"),
    ))
}

/// Where a crate comes from and what its licence is.
struct Origin<'a> {
    name: &'a str,
    whose: Whose,
    source: Option<&'a str>,
    licence: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Theirs,
}

impl<'a> Origin<'a> {
    fn of(package: &'a Package, metadata: &Metadata) -> Self {
        let ours = metadata.workspace_members.contains(&package.id);
        Self {
            name: package.name.as_str(),
            whose: if ours { Whose::Ours } else { Whose::Theirs },
            source: package.source.as_ref().map(|source| source.repr.as_str()),
            licence: package.license.as_deref().unwrap_or(""),
        }
    }

    fn check(&self) -> Vec<Finding> {
        let Self {
            name,
            whose,
            source,
            licence,
        } = self;
        let mut findings = Vec::new();
        if *whose == Whose::Theirs && *source != Some(CRATES_IO) {
            let source = source.unwrap_or("a path outside the workspace");
            findings.push(
                Rule::UnknownSource.at(name, format!("comes from {source}, not from crates.io")),
            );
        }
        if !licence::is_allowed(licence) {
            findings.push(
                Rule::Licence.at(name, format!("licence `{licence}` has not been agreed to")),
            );
        }
        findings
    }
}

fn duplicates(compiled: &BTreeSet<Compiled>) -> Vec<Finding> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for krate in compiled {
        versions
            .entry(&krate.name)
            .or_default()
            .push(&krate.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let unlisted = versions
        .iter()
        .filter(|(name, _)| duplicates::reason(name).is_none())
        .map(|(name, versions)| {
            let message = format!(
                "in versions {} without a reason in xtask/src/check_deps/duplicates.rs",
                versions.join(", ")
            );
            Rule::Duplicate.at(name, message)
        });
    let stale = duplicates::names()
        .filter(|name| !versions.contains_key(name))
        .map(|name| {
            Rule::StaleDuplicate.at(
                name,
                "has one version only; take its reason out of xtask/src/check_deps/duplicates.rs",
            )
        });
    unlisted.chain(stale).collect()
}

fn find<'a>(metadata: &'a Metadata, krate: &Compiled) -> Option<&'a Package> {
    metadata.packages.iter().find(|package| {
        package.name.as_str() == krate.name && package.version.to_string() == krate.version
    })
}

fn resolved(root: &Path) -> anyhow::Result<Metadata> {
    MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .other_options(
            PLATFORMS
                .iter()
                .flat_map(|platform| ["--filter-platform".to_owned(), (*platform).to_owned()])
                .collect::<Vec<_>>(),
        )
        .exec()
        .context("cargo could not resolve the workspace")
}

/// What `cargo tree` says is compiled. `cargo metadata` also names crates that only a weak feature would bring, such as ring.
fn compiled(root: &Path) -> anyhow::Result<BTreeSet<Compiled>> {
    let mut compiled = BTreeSet::new();
    for platform in PLATFORMS {
        let tree = run::output(
            run::cargo()
                .current_dir(root)
                .args([
                    "tree",
                    "--workspace",
                    "--edges",
                    "normal,build,dev",
                    "--prefix",
                    "none",
                ])
                .args(["--format", "{p}", "--target", platform]),
        )?;
        compiled.extend(tree.lines().filter_map(parse_line));
    }
    anyhow::ensure!(!compiled.is_empty(), "cargo tree named no crate");
    Ok(compiled)
}

/// `name v1.2.3 (where from)`.
fn parse_line(line: &str) -> Option<Compiled> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let version = words.next()?.strip_prefix('v')?.to_owned();
    Some(Compiled { name, version })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(origin: &Origin<'_>) -> Vec<Rule> {
        origin
            .check()
            .into_iter()
            .map(|finding| finding.rule)
            .collect()
    }

    const GOOD: Origin<'static> = Origin {
        name: "a",
        whose: Whose::Theirs,
        source: Some(CRATES_IO),
        licence: "MIT",
    };

    #[test]
    fn only_crates_io_and_our_own_are_known_sources() {
        assert!(rules(&GOOD).is_empty());
        assert!(
            rules(&Origin {
                whose: Whose::Ours,
                source: None,
                ..GOOD
            })
            .is_empty()
        );
        for source in [
            None,
            Some("git+https://github.com/a/a#0123"),
            Some("registry+https://registry.example/index"),
            Some("sparse+https://registry.example/index/"),
        ] {
            assert_eq!(
                rules(&Origin { source, ..GOOD }),
                [Rule::UnknownSource],
                "{source:?}"
            );
        }
    }

    #[test]
    fn licence_that_was_not_agreed_to_is_found_in_our_own_too() {
        for whose in [Whose::Ours, Whose::Theirs] {
            assert_eq!(
                rules(&Origin {
                    whose,
                    licence: "GPL-3.0-only",
                    ..GOOD
                }),
                [Rule::Licence]
            );
            assert_eq!(
                rules(&Origin {
                    whose,
                    licence: "",
                    ..GOOD
                }),
                [Rule::Licence]
            );
        }
    }

    #[test]
    fn each_banned_crate_is_found() {
        for (name, _) in BANNED {
            let krate = Compiled {
                name: (*name).to_owned(),
                version: "1.0.0".to_owned(),
            };
            assert_eq!(
                banned(&krate).map(|finding| finding.rule),
                Some(Rule::BannedCrate)
            );
        }
    }

    #[test]
    fn second_version_without_a_reason_and_reason_without_a_second_version_are_found() {
        let krate = |version: &str| Compiled {
            name: "bytes".to_owned(),
            version: version.to_owned(),
        };
        let found = duplicates(&BTreeSet::from([krate("1.0.0"), krate("2.0.0")]));
        let of_rule = |rule: Rule| found.iter().filter(|finding| finding.rule == rule).count();
        assert_eq!(of_rule(Rule::Duplicate), 1);
        assert_eq!(of_rule(Rule::StaleDuplicate), duplicates::names().count());
    }

    #[test]
    fn line_of_cargo_tree_is_a_crate() {
        let krate = Compiled {
            name: "syn".to_owned(),
            version: "2.0.1".to_owned(),
        };
        assert_eq!(parse_line("syn v2.0.1 (proc-macro) (*)"), Some(krate));
        assert_eq!(parse_line(""), None);
    }
}
