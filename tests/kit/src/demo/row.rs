//! One row of the demo: what is done, what must come of it, and what came.

use serde::Serialize;

/// A row as the issue names it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Row {
    /// Its number.
    pub number: u8,
    /// Who acts.
    pub who: &'static str,
    /// What is done.
    pub does: &'static str,
    /// What must come of it.
    pub expected: &'static str,
}

/// What came of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Result {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// Whether it came as expected.
    pub verdict: Verdict,
    /// What came.
    pub got: String,
    /// Which part of the chain said so; of a failed row also what was not as expected.
    pub why: String,
}

/// Whether a row came as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// It did.
    #[serde(rename = "ok")]
    Ok,
    /// It did not.
    #[serde(rename = "FAIL")]
    Fail,
}

impl Verdict {
    /// As it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "FAIL",
        }
    }
}

/// What a row saw, and which expectations it did not meet.
#[derive(Debug, Default)]
pub struct Findings {
    got: Vec<String>,
    why: Vec<String>,
    unmet: Vec<String>,
}

impl Findings {
    /// Adds to what came.
    pub fn got(&mut self, text: impl Into<String>) {
        self.got.push(text.into());
    }

    /// Adds to the reason.
    pub fn why(&mut self, text: impl Into<String>) {
        self.why.push(text.into());
    }

    /// Holds `actual` to `wanted`.
    pub fn same<T: PartialEq + std::fmt::Debug + ?Sized>(
        &mut self,
        what: &str,
        actual: &T,
        wanted: &T,
    ) {
        if actual != wanted {
            self.unmet
                .push(format!("{what} is {actual:?}, not {wanted:?}"));
        }
    }

    /// Holds `text` to containing `wanted`.
    pub fn contains(&mut self, what: &str, text: &str, wanted: &str) {
        if !text.contains(wanted) {
            self.unmet.push(format!(
                "{what} does not say `{wanted}`: {}",
                shortened(text)
            ));
        }
    }

    /// Holds a condition to be met.
    pub fn holds(&mut self, what: &str, condition: bool) {
        if !condition {
            self.unmet.push(format!("not so: {what}"));
        }
    }

    /// The row's result. What could not be found out is a failure, never a pass.
    pub fn result(self, row: Row, ended: anyhow::Result<()>) -> Result {
        let Self {
            mut got,
            mut why,
            mut unmet,
        } = self;
        if let Err(error) = ended {
            unmet.push(format!("{error:#}"));
        }
        let verdict = if unmet.is_empty() {
            Verdict::Ok
        } else {
            Verdict::Fail
        };
        why.extend(unmet);
        if got.is_empty() {
            got.push("nothing".to_owned());
        }
        Result {
            row,
            verdict,
            got: got.join(", "),
            why: why.join(", "),
        }
    }
}

fn shortened(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(400)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Findings, Row, Verdict};

    const ROW: Row = Row {
        number: 1,
        who: "somebody",
        does: "something",
        expected: "anything",
    };

    #[test]
    fn row_without_findings_is_ok() {
        assert_eq!(Findings::default().result(ROW, Ok(())).verdict, Verdict::Ok);
    }

    #[test]
    fn unmet_expectation_fails_the_row() {
        let mut findings = Findings::default();
        findings.same("status", &200, &403);
        assert_eq!(findings.result(ROW, Ok(())).verdict, Verdict::Fail);
    }

    #[test]
    fn row_that_could_not_be_run_fails() {
        let result = Findings::default().result(ROW, Err(anyhow::anyhow!("no connection")));
        assert_eq!(
            (result.verdict, result.why.as_str()),
            (Verdict::Fail, "no connection")
        );
    }
}
