//! Owns the printing of an error with its causes.

use std::error::Error;

/// The error and each of its causes, once, joined by `: `. For logs: `error = %daemon::chain(&err)`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some libraries print their cause themselves.
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the disk is full")]
    struct Inner;

    #[derive(Debug, thiserror::Error)]
    #[error("the file could not be written")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("the file could not be written: {0}")]
    struct Repeating(#[source] Inner);

    #[test]
    fn causes_follow_the_error() {
        assert_eq!(
            chain(&Outer(Inner)),
            "the file could not be written: the disk is full"
        );
    }

    #[test]
    fn cause_that_was_printed_is_not_repeated() {
        assert_eq!(
            chain(&Repeating(Inner)),
            "the file could not be written: the disk is full"
        );
    }
}
