//! Manifests: every dependency with its reason, in one place.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::finding::{Finding, Rule};

/// Checks the root manifest and those of the members.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let text = read(&root.join("Cargo.toml"))?;
    let mut findings = without_reason(&text);
    for member in members(&text) {
        let manifest = root.join(&member).join("Cargo.toml");
        findings.extend(not_inherited(&member, &read(&manifest)?));
    }
    Ok(findings)
}

/// Third-party entries of `[workspace.dependencies]` that have no comment on their line.
fn without_reason(text: &str) -> Vec<Finding> {
    section_lines(text, |header| header == "workspace.dependencies")
        .filter(|(_, line)| !line.contains("path = \""))
        .filter(|(_, line)| {
            line.split_once(" # ")
                .is_none_or(|(_, reason)| reason.trim().is_empty())
        })
        .map(|(number, line)| {
            let message = format!(
                "`{}` has no comment on its line that says why",
                entry_name(line)
            );
            Rule::NoReason.at(format_args!("Cargo.toml:{number}"), message)
        })
        .collect()
}

/// Entries of any dependency table that do not come from the workspace.
fn not_inherited(member: &Path, text: &str) -> Vec<Finding> {
    section_lines(text, |header| header.ends_with("dependencies"))
        .filter(|(_, line)| !line.contains("workspace = true"))
        .map(|(number, line)| {
            let message = format!("`{}` must be `workspace = true`", entry_name(line));
            Rule::NotInherited.at(
                format_args!("{}/Cargo.toml:{number}", member.display()),
                message,
            )
        })
        .collect()
}

/// The entry lines of the sections whose header is wanted, numbered from 1.
fn section_lines(text: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let trimmed = line.trim();
        if let Some(header) = trimmed.strip_prefix('[') {
            inside = wanted(header.trim_end_matches(']'));
            return None;
        }
        let is_entry = !trimmed.is_empty() && !trimmed.starts_with('#');
        (inside && is_entry).then_some((index + 1, trimmed))
    })
}

fn members(text: &str) -> Vec<PathBuf> {
    let list = text
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let list = list.map_or("", |(list, _)| list);
    list.split(',')
        .map(|entry| entry.trim().trim_matches('"'))
        .filter(|entry| !entry.is_empty())
        .map(PathBuf::from)
        .collect()
}

fn entry_name(line: &str) -> &str {
    line.split(['=', '.', ' ']).next().unwrap_or(line)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
