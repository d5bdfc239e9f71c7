//! `cargo xtask reasons`: reasons and error variants that no test names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::check_deps::rust_source::{self, Variant};
use crate::run;

/// Arguments of `reasons`.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Arguments {}

/// Prints every reason and error variant that no test names. The exit code is a failure if there is one.
///
/// A test names a reason by its variant or by its code, and an error by its enum and variant.
///
/// # Errors
///
/// When a source cannot be read.
pub(crate) fn run(_arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let sources = Sources::read(&run::root())?;
    let untested = untested(&sources);
    for name in &untested {
        run::say(format_args!("{name}"));
    }
    run::say(format_args!("reasons: {} without a test", untested.len()));
    Ok(if untested.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The sources of the workspace.
struct Sources {
    /// The table of reasons.
    reasons: String,
    /// Every source that is no test, with its path.
    code: Vec<(PathBuf, String)>,
    /// The text of every test.
    tests: Vec<String>,
}

impl Sources {
    fn read(root: &Path) -> anyhow::Result<Self> {
        let reasons = read(&root.join(TABLE))?;
        let mut sources = Self {
            reasons,
            code: Vec::new(),
            tests: Vec::new(),
        };
        for directory in ROOMS {
            sources.collect(root, &root.join(directory))?;
        }
        Ok(sources)
    }

    fn collect(&mut self, root: &Path, directory: &Path) -> anyhow::Result<()> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                if !LEFT_OUT.iter().any(|left_out| path.ends_with(left_out)) {
                    self.collect(root, &path)?;
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.add(path.strip_prefix(root).unwrap_or(&path), read(&path)?);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, text: String) {
        let is_test = path
            .components()
            .any(|part| TESTS.iter().any(|name| part.as_os_str() == *name));
        if is_test {
            self.tests.push(text);
        } else {
            self.tests.push(rust_source::tests_in(&text));
            self.code.push((path.to_owned(), text));
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.tests.iter().any(|test| names(test, name))
    }
}

fn untested(sources: &Sources) -> Vec<String> {
    let reasons = table_rows(&sources.reasons).filter(|(variant, code)| {
        !sources.is_named(&format!("Reason::{variant}"))
            && !sources.is_named(&format!("\"{code}\""))
    });
    let mut untested: Vec<_> = reasons.map(|(_, code)| format!("reason {code}")).collect();
    for (path, text) in &sources.code {
        let variants = rust_source::error_variants(text);
        let unnamed = variants
            .iter()
            .filter(|Variant { of, name }| !sources.is_named(&format!("{of}::{name}")));
        untested.extend(
            unnamed.map(|Variant { of, name }| format!("{}: {of}::{name}", path.display())),
        );
    }
    untested
}

/// Rows of the table: variant and code.
fn table_rows(table: &str) -> impl Iterator<Item = (&str, &str)> {
    table.lines().filter_map(|line| {
        let (variant, rest) = line.strip_prefix("    ")?.split_once(" \"")?;
        let (code, _) = rest.split_once('"')?;
        let is_variant =
            variant.starts_with(char::is_uppercase) && variant.chars().all(char::is_alphanumeric);
        is_variant.then_some((variant, code))
    })
}

/// Whether the name stands in the text as a whole.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let after = text
            .get(at + name.len()..)
            .and_then(|rest| rest.chars().next());
        let before = text.get(..at).and_then(|rest| rest.chars().next_back());
        let in_word = |character: char| character.is_alphanumeric() || character == '_';
        !after.is_some_and(in_word) && !before.is_some_and(in_word)
    })
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

const TABLE: &str = "crates/policy/src/reason/table.rs";
const ROOMS: &[&str] = &[
    "crates",
    "authz-service",
    "cert-agent",
    "tests/kit",
    "tests/e2e",
];
/// Files and directories that hold nothing but tests and their helpers.
const TESTS: &[&str] = &["tests", "tests.rs", "testing.rs"];
/// Generated code, recorded bytes and what was built.
const LEFT_OUT: &[&str] = &["src/gen", "tests/data", "target"];

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(code: &str, tests: &str) -> Sources {
        let reasons = "reasons! {\n    NoRule \"no-rule\" Caller Security,\n        \"a\",\n        \"b\";\n}\n".to_owned();
        Sources {
            reasons,
            code: vec![(PathBuf::from("a.rs"), code.to_owned())],
            tests: vec![tests.to_owned()],
        }
    }

    const ERROR: &str = "#[derive(Debug, thiserror::Error)]\npub enum InvalidX {\n    #[error(\"a {b}\")]\n    One { b: u8 },\n    #[error(transparent)]\n    Two(#[from] io::Error),\n}\n";

    #[test]
    fn reason_and_variant_without_a_test_are_listed() {
        let found = untested(&sources(ERROR, ""));
        assert_eq!(
            found,
            [
                "reason no-rule",
                "a.rs: InvalidX::One",
                "a.rs: InvalidX::Two"
            ]
        );
    }

    #[test]
    fn reason_is_named_by_variant_or_code() {
        for test in ["Reason::NoRule", "assert(\"no-rule\")"] {
            assert_eq!(
                untested(&sources("", test)),
                <[String; 0]>::default(),
                "{test}"
            );
        }
        for test in [
            "Reason::NoRuleMatched",
            "\"no-rule-matched\"",
            "MyReason::NoRule",
        ] {
            assert_eq!(untested(&sources("", test)), ["reason no-rule"], "{test}");
        }
    }

    #[test]
    fn variant_is_named_with_its_enum() {
        let found = untested(&sources(ERROR, "Reason::NoRule InvalidX::One Other::Two"));
        assert_eq!(found, ["a.rs: InvalidX::Two"]);
    }

    #[test]
    fn every_reason_of_the_table_is_read() {
        let sources = Sources::read(&run::root()).unwrap();
        assert!(table_rows(&sources.reasons).count() > 40);
        let this = "InvalidReason";
        assert!(
            sources.is_named(this),
            "a test in a module at the end of its file is read"
        );
    }
}
