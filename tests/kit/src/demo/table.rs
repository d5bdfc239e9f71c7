//! The demo's tables, in lines of at most 100 columns.

use super::mutate::Outcome;
use super::row::{Result, Row, Verdict};

/// The widest line.
pub const COLUMNS: usize = 100;

/// The first line of the rows' table.
pub fn head() -> String {
    lines("  #", ["who", "does", "got", "why"])
}

/// A row: its number and verdict, then who, does, got and why, each wrapped in its own column.
pub fn row(result: &Result) -> String {
    let Row {
        number, who, does, ..
    } = result.row;
    let front = format!("{number:>3} {}", result.verdict.as_str());
    lines(&front, [who, does, &result.got, &result.why])
}

/// The first line of the mutations' matrix.
pub fn matrix_head(rows: impl IntoIterator<Item = u8>) -> String {
    let numbers: String = rows.into_iter().fold(String::new(), |numbers, number| {
        format!("{numbers}{number:>3}")
    });
    format!("     {:<28}{numbers}", "mutation")
}

/// A mutation: `F` where a row failed, in brackets where it should not have, or should have and did not; below it, what it breaks.
pub fn mutation(outcome: &Outcome, rows: impl IntoIterator<Item = u8>) -> String {
    let failed = outcome.failed();
    let cells: String = rows
        .into_iter()
        .map(|number| {
            match (
                failed.contains(&number),
                outcome.mutation.fails.contains(&number),
            ) {
                (true, true) => "  F",
                (false, false) => "  .",
                (true, false) => "(F)",
                (false, true) => "(.)",
            }
        })
        .collect();
    let verdict = if outcome.as_listed() {
        Verdict::Ok
    } else {
        Verdict::Fail
    };
    let breaks = textwrap::fill(
        outcome.mutation.breaks,
        textwrap::Options::new(COLUMNS)
            .initial_indent("       ")
            .subsequent_indent("       "),
    );
    format!(
        "{:<4} {:<28}{cells}\n{breaks}",
        verdict.as_str(),
        outcome.mutation.name
    )
}

/// Wraps each cell in its column.
fn lines(front: &str, cells: [&str; 4]) -> String {
    let wrapped: Vec<_> = cells
        .into_iter()
        .zip(WIDTHS)
        .map(|(cell, width)| textwrap::wrap(cell, whole_words(width)))
        .collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or_default();
    let mut text = Vec::with_capacity(height);
    for index in 0..height {
        let mut line = format!("{:<8}", if index == 0 { front } else { "" });
        for (cell, width) in wrapped.iter().zip(WIDTHS) {
            let part = cell.get(index).map_or("", AsRef::as_ref);
            line = format!("{line}{part:<width$}  ");
        }
        text.push(line.trim_end().to_owned());
    }
    text.join("\n")
}

/// A reason code stays in one piece.
fn whole_words(width: usize) -> textwrap::Options<'static> {
    textwrap::Options::new(width).word_splitter(textwrap::WordSplitter::NoHyphenation)
}

/// Of who, does, got and why: with the front of 8 and three gaps of 2 they make 100.
const WIDTHS: [usize; 4] = [9, 28, 25, 24];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_fits_a_hundred_columns_and_loses_no_word() {
        let why = format!(
            "pinned /v2/prod/payments/manifests/sha256:{}",
            "a1".repeat(32)
        );
        let result = Result {
            row: Row {
                number: 4,
                who: "attackers",
                does: "fork, exec, pass on a socket, forge the exe link",
                expected: "",
            },
            verdict: Verdict::Fail,
            got: "refused in the handshake, 401 identity-missing".to_owned(),
            why,
        };
        let text = row(&result);
        assert!(text.starts_with("  4 FAIL"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS));
        for word in [
            "attackers",
            "forge",
            "handshake",
            "identity-missing",
            "pinned",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }
}
