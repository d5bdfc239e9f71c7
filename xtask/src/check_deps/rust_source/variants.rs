//! The variants of error enums.

use super::{blank, is_word};

/// One variant of an error enum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    /// The enum.
    pub(crate) of: String,
    /// The variant.
    pub(crate) name: String,
}

/// Every variant of every enum in this source that is an error: it derives `Error`, or its name begins with `Invalid` or ends with `Error`.
pub(crate) fn error_variants(text: &str) -> Vec<Variant> {
    let code = blank::without_tests(&blank::without_text(text));
    let mut variants = Vec::new();
    for (at, keyword) in code.match_indices("enum ") {
        let (before, after) = (
            code.get(..at).unwrap_or_default(),
            code.get(at + keyword.len()..).unwrap_or_default(),
        );
        let name: String = after
            .chars()
            .take_while(|character| is_word(*character))
            .collect();
        let Some(body) = body_after(after) else {
            continue;
        };
        if is_error(before, &name) && !before.ends_with(is_word) {
            variants.extend(names(body).map(|variant| Variant {
                of: name.clone(),
                name: variant,
            }));
        }
    }
    variants
}

fn is_error(before: &str, name: &str) -> bool {
    let item = before.rsplit(['}', ';']).next().unwrap_or_default();
    let derives = item
        .rsplit_once("#[derive(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(list, _)| list);
    let derives_error = derives
        .split(',')
        .any(|derived| derived.trim().rsplit("::").next() == Some("Error"));
    derives_error || name.starts_with("Invalid") || name.ends_with("Error")
}

/// What stands between the first brace and the one that closes it.
fn body_after(code: &str) -> Option<&str> {
    let start = code.find('{')? + 1;
    let mut depth = 1_usize;
    for (at, character) in code.get(start..)?.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 1 => return code.get(start..start + at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The identifiers that stand at the top level of an enum's body, outside attributes.
fn names(body: &str) -> impl Iterator<Item = String> {
    let mut depth = 0_usize;
    let mut names = vec![String::new()];
    for character in body.chars() {
        match character {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 && is_word(character) => names
                .last_mut()
                .into_iter()
                .for_each(|name| name.push(character)),
            _ => {}
        }
    }
    names.into_iter().filter(|name| !name.is_empty())
}
