//! Rust sources as text: comments, literals and tests taken out, so that names can be looked for.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

mod blank;
mod variants;

pub(crate) use variants::{Variant, error_variants};

/// The test modules of a source, as they are written.
pub(crate) fn tests_in(text: &str) -> String {
    let code = blank::without_text(text);
    blank::test_ranges(&code)
        .into_iter()
        .filter_map(|range| text.get(range))
        .collect()
}

/// One source file of a crate, without its tests.
#[derive(Debug)]
pub(super) struct RustSource {
    /// The path below the crate's `src`, with `/`, without `.rs`: `target/registry`.
    pub(super) module: String,
    /// The code; comments, literals and test modules are spaces, line breaks stand where they stood.
    code: String,
}

impl RustSource {
    /// Every source below `directory`, in order of module. Files that hold only tests are left out.
    pub(super) fn all_below(directory: &Path) -> anyhow::Result<Vec<Self>> {
        let mut files = Files::default();
        files.collect(directory, directory)?;
        let Files {
            mut sources,
            test_modules,
        } = files;
        sources.retain(|source| !test_modules.iter().any(|module| source.is_within(module)));
        sources.sort_by(|a, b| a.module.cmp(&b.module));
        Ok(sources)
    }

    /// Whether the module is `name` or lies below it.
    pub(super) fn is_within(&self, name: &str) -> bool {
        self.module
            .strip_prefix(name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The first line on which this identifier stands as a whole word.
    pub(super) fn line_of_word(&self, word: &str) -> Option<usize> {
        self.words(word).next().map(|at| self.line_at(at))
    }

    /// The first line on which this identifier is the root of a path: `spiffe::…` or `use spiffe`, not `other::spiffe::…`.
    pub(super) fn line_of_root(&self, root: &str) -> Option<usize> {
        let is_root = |at: &usize| {
            let (before, after) = self.around(*at, root);
            let inner = before.ends_with("::") && !is_leading_colons(before);
            let imported = before.ends_with("use") || before.ends_with("extern crate");
            !inner && (after.starts_with("::") || imported)
        };
        self.words(root).find(is_root).map(|at| self.line_at(at))
    }

    /// The first line that names `parent::child`, also as `parent::{…, child, …}`.
    pub(super) fn line_of_path(&self, parent: &str, child: &str) -> Option<usize> {
        let names_child = |at: &usize| {
            let (_, after) = self.around(*at, parent);
            let Some(after) = after.strip_prefix("::") else {
                return false;
            };
            let after = after.trim_start();
            match after.strip_prefix('{') {
                Some(group) => group_names(group, child),
                None => starts_with_word(after, child),
            }
        };
        self.words(parent)
            .find(names_child)
            .map(|at| self.line_at(at))
    }

    /// The first line on which a struct literal or constructor of `name` begins: `name {` or `name::new`, no definition, no pattern.
    pub(super) fn line_of_construction(&self, name: &str) -> Option<usize> {
        let constructs = |at: &usize| {
            let (before, after) = self.around(*at, name);
            let defines = ["struct", "enum", "impl", "for", "trait", "->", "type"]
                .iter()
                .any(|word| ends_with_word(before, word));
            let other_type = before.ends_with("::") && !before.ends_with("decide::");
            let literal = after.starts_with('{') && !is_pattern(after);
            !defines && !other_type && (literal || after.starts_with("::"))
        };
        self.words(name).find(constructs).map(|at| self.line_at(at))
    }

    fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code
            .match_indices(word)
            .map(|(at, _)| at)
            .filter(move |at| {
                let before = self
                    .code
                    .get(..*at)
                    .and_then(|text| text.chars().next_back());
                let after = self
                    .code
                    .get(at + word.len()..)
                    .and_then(|text| text.chars().next());
                !before.is_some_and(is_word) && !after.is_some_and(is_word)
            })
    }

    /// The code before and after the word at `at`, without the space next to it.
    fn around(&self, at: usize, word: &str) -> (&str, &str) {
        let before = self.code.get(..at).unwrap_or_default().trim_end();
        (
            before,
            self.code
                .get(at + word.len()..)
                .unwrap_or_default()
                .trim_start(),
        )
    }

    fn line_at(&self, at: usize) -> usize {
        1 + self
            .code
            .get(..at)
            .unwrap_or_default()
            .matches('\n')
            .count()
    }
}

/// Sources as they are found, and the modules that are declared for tests only.
#[derive(Debug, Default)]
struct Files {
    sources: Vec<RustSource>,
    test_modules: Vec<String>,
}

impl Files {
    fn collect(&mut self, top: &Path, directory: &Path) -> anyhow::Result<()> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                self.collect(top, &path)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let module = path.strip_prefix(top).unwrap_or(&path).with_extension("");
                self.add(&module.to_string_lossy(), &text);
            }
        }
        Ok(())
    }

    fn add(&mut self, module: &str, text: &str) {
        let code = blank::without_text(text);
        let parent = if matches!(module, "lib" | "main") {
            String::new()
        } else {
            format!("{module}/")
        };
        self.test_modules
            .extend(blank::test_modules(&code).map(|name| format!("{parent}{name}")));
        self.sources.push(RustSource {
            module: module.to_owned(),
            code: blank::without_tests(&code),
        });
    }
}

/// `::name` at the start of a path, as in `use ::spiffe`.
fn is_leading_colons(before: &str) -> bool {
    let before = before.trim_end_matches("::").trim_end();
    !before
        .chars()
        .next_back()
        .is_some_and(|last| is_word(last) || last == '>')
        || ends_with_word(before, "use")
}

/// Whether `word` stands at the top level of a use group, which `group` begins inside of.
fn group_names(group: &str, word: &str) -> bool {
    let mut depth = 0_usize;
    let mut at_start = true;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return false,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            _ if character.is_whitespace() => {}
            _ => {
                let here = group.get(at..).unwrap_or_default();
                if at_start && depth == 0 && starts_with_word(here, word) {
                    return true;
                }
                at_start = false;
            }
        }
    }
    false
}

/// Whether a braced group that begins here is matched against, not built: `Permit { rule } =>`, `= value`, or it ends in `..`.
fn is_pattern(group: &str) -> bool {
    let Some((fields, after)) = group.split_once('}') else {
        return false;
    };
    let after = after.trim_start().trim_start_matches(')').trim_start();
    let rest_is_ignored = fields
        .trim_end()
        .trim_end_matches(',')
        .trim_end()
        .ends_with("..");
    let matched = after.starts_with("=>")
        || (after.starts_with('=') && !after.starts_with("=="))
        || after.starts_with('|');
    rest_is_ignored || matched
}

fn starts_with_word(text: &str, word: &str) -> bool {
    text.strip_prefix(word)
        .is_some_and(|rest| !rest.chars().next().is_some_and(is_word))
}

fn ends_with_word(text: &str, word: &str) -> bool {
    text.strip_suffix(word)
        .is_some_and(|rest| !rest.chars().next_back().is_some_and(is_word))
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

#[cfg(test)]
impl RustSource {
    /// A source of this text, for tests.
    pub(super) fn of(module: &str, text: &str) -> Self {
        Self {
            module: module.to_owned(),
            code: blank::without_tests(&blank::without_text(text)),
        }
    }
}

#[cfg(test)]
mod tests;
