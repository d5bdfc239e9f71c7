//! Blanks out what is no code: comments, literals and test modules. Every byte keeps its place.

use std::ops::Range;

/// The text with comments, strings and characters as spaces.
pub(super) fn without_text(text: &str) -> String {
    let mut rest = text;
    let mut code = String::with_capacity(text.len());
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let length = if in_word { None } else { text_length(rest) };
        let length = length.unwrap_or_else(|| comment_or_quote_length(rest));
        let taken = if length > 0 { length } else { first.len_utf8() };
        let (piece, after) = rest.split_at_checked(taken).unwrap_or((rest, ""));
        if length > 0 {
            push_blank(&mut code, piece);
        } else {
            code.push_str(piece);
        }
        in_word = length == 0 && (first.is_alphanumeric() || first == '_');
        rest = after;
    }
    code
}

/// The code with its `#[cfg(test)]` items as spaces. Line breaks stay.
pub(super) fn without_tests(code: &str) -> String {
    let mut kept = String::with_capacity(code.len());
    let mut start = 0;
    for tests in test_ranges(code) {
        kept.push_str(code.get(start..tests.start).unwrap_or_default());
        push_blank(&mut kept, code.get(tests.clone()).unwrap_or_default());
        start = tests.end;
    }
    kept.push_str(code.get(start..).unwrap_or_default());
    kept
}

/// Where the `#[cfg(test)]` items of this code stand, in bytes. The text it was blanked from has them in the same place.
pub(super) fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (start, attribute) in code.match_indices(TEST_ATTRIBUTE) {
        if ranges.last().is_some_and(|last| last.contains(&start)) {
            continue;
        }
        let body = start + attribute.len();
        ranges.push(start..body + item_length(code.get(body..).unwrap_or_default()));
    }
    ranges
}

/// The names of modules that are declared for tests only, `#[cfg(test)] mod name;`.
pub(super) fn test_modules(code: &str) -> impl Iterator<Item = &str> {
    test_ranges(code).into_iter().filter_map(|range| {
        let declaration = code.get(range)?.strip_suffix(';')?;
        let (_, name) = declaration.rsplit_once("mod ")?;
        Some(name.trim())
    })
}

/// As many bytes of space as the piece has, with its line breaks.
fn push_blank(code: &mut String, piece: &str) {
    for character in piece.chars() {
        match character {
            '\n' => code.push('\n'),
            _ => code.extend(std::iter::repeat_n(' ', character.len_utf8())),
        }
    }
}

const TEST_ATTRIBUTE: &str = "#[cfg(test)]";

/// Length of the item that begins here: to its `;`, or to the brace that closes its body.
fn item_length(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

/// Length of the prefixed or raw string that begins here. Only where no word runs on.
fn text_length(rest: &str) -> Option<usize> {
    let prefix = rest.len() - rest.trim_start_matches(['b', 'r', 'c']).len();
    let after = rest.get(prefix..)?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let is_raw = rest.get(..prefix)?.contains('r');
    let is_text = after.get(hashes..)?.starts_with('"')
        && prefix > 0
        && prefix <= 2
        && (is_raw || hashes == 0);
    if !is_text {
        return None;
    }
    let start = prefix + hashes + 1;
    if !is_raw {
        return Some(prefix + quoted_length(after, '"'));
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = rest.get(start..)?;
    Some(
        body.find(&end)
            .map_or(rest.len(), |at| start + at + end.len()),
    )
}

/// Length of the comment, string or character that begins here; 0 if none does.
fn comment_or_quote_length(rest: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    if is_character(rest) {
        quoted_length(rest, '\'')
    } else {
        0
    }
}

/// `'a'` and `'\n'`, not the lifetime `'a`.
fn is_character(rest: &str) -> bool {
    let mut characters = rest.chars();
    let (first, second, third) = (characters.next(), characters.next(), characters.next());
    first == Some('\'') && (second == Some('\\') || third == Some('\''))
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    rest.len()
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(here) = rest.get(at..).filter(|here| !here.is_empty()) {
        if here.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}
