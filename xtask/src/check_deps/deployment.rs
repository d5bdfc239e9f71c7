//! Deployment files: every enforcing Envoy configuration fails closed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::finding::{Finding, Rule};

const ENFORCE: &str = "deploy/envoy/enforce";
const FILTERS: [&str; 2] = [
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
];

/// Checks that every `ext_authz` filter of every enforcing file says `failure_mode_allow: false`, and that no filter is disabled.
pub(super) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let files = yaml_files(&root.join(ENFORCE))?;
    if files.is_empty() {
        return Ok(vec![
            Rule::FailsOpen.at(ENFORCE, "holds no Envoy configuration to check"),
        ]);
    }
    let mut findings = Vec::new();
    for file in files {
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let place = file
            .strip_prefix(root)
            .unwrap_or(&file)
            .display()
            .to_string();
        findings.extend(
            check_text(&text)
                .into_iter()
                .map(|message| Rule::FailsOpen.at(&place, message)),
        );
    }
    Ok(findings)
}

fn check_text(text: &str) -> Vec<String> {
    let code = |line: &'_ str| line.split(" #").next().unwrap_or("").trim().to_owned();
    let lines: Vec<_> = text
        .lines()
        .map(code)
        .filter(|line| !line.starts_with('#'))
        .collect();
    let filters = lines.iter().filter(|line| is_filter(line)).count();
    let values_of = |key: &'static str| lines.iter().filter_map(move |line| value_of(line, key));
    let closed = values_of("failure_mode_allow")
        .filter(|value| *value == "false")
        .count();
    let mut messages = Vec::new();
    if closed < values_of("failure_mode_allow").count() {
        messages.push(
            "`failure_mode_allow` must be false: whoever can make us fail would get through"
                .to_owned(),
        );
    }
    if filters == 0 || closed < filters {
        messages.push(format!(
            "{filters} ext_authz filters, {closed} of them with `failure_mode_allow: false`"
        ));
    }
    if values_of("disabled").any(|value| value != "false") {
        messages.push(
            "no filter may be disabled for a route: whoever reaches that route gets through"
                .to_owned(),
        );
    }
    messages
}

fn is_filter(line: &str) -> bool {
    let line = line.trim_end_matches(['"', '\'', '}', ' ']);
    FILTERS.iter().any(|filter| line.ends_with(filter))
}

/// The plain value of a key on this line, in block or flow style.
fn value_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (before, after) = line.split_once(key)?;
    let value = after
        .trim_start_matches(['"', '\''])
        .trim_start()
        .strip_prefix(':')?;
    let starts_here = !before.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    starts_here.then(|| value.split([',', '}']).next().unwrap_or("").trim())
}

fn yaml_files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(yaml_files(&path)?);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSED: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\nfailure_mode_allow: false\n";

    #[test]
    fn closed_filter_is_found_sound() {
        assert!(check_text(CLOSED).is_empty());
        let with_route = format!(
            "{CLOSED}\"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n"
        );
        assert!(check_text(&with_route).is_empty());
    }

    #[test]
    fn open_unsaid_missing_and_disabled_are_found() {
        for broken in [
            CLOSED.replace("false", "true"),
            CLOSED.replace("failure_mode_allow: false", ""),
            CLOSED.replace("failure_mode_allow", "# failure_mode_allow"),
            CLOSED
                .replace("failure_mode_allow", "\"failure_mode_allow\"")
                .replace("false", "yes"),
            CLOSED.replace("ext_authz", "rbac"),
            format!("{CLOSED}{CLOSED}failure_mode_allow: true\n").replacen(
                "failure_mode_allow: false",
                "",
                1,
            ),
            format!("{CLOSED}disabled: true\n"),
            format!("{CLOSED}per_route: {{ disabled: true }}\n"),
            CLOSED
                .replace("http.ext_authz", "network.ext_authz")
                .replace("false", "true"),
        ] {
            assert!(!check_text(&broken).is_empty(), "{broken}");
        }
    }
}
