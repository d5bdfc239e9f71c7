//! Text of a configuration file: positions of mistakes, durations and addresses.

use std::{fmt::Display, path::Path, time::Duration};

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_saphyr::{Error, Location, MergeKeyPolicy, Spanned, UserMessageFormatter};

/// One mistake in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {message}")]
pub struct ConfigError {
    /// The file as it was named.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
    /// Counted from 1.
    pub column: u64,
    /// What was expected.
    pub message: String,
}

impl ConfigError {
    /// The file could not be read at all.
    pub fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self::at(file, 1, 1, format!("cannot be read: {error}"))
    }

    fn at(file: &Path, line: u64, column: u64, message: String) -> Self {
        Self {
            file: file.display().to_string(),
            line,
            column,
            message,
        }
    }
}

/// Reads the shape of a file.
pub(super) fn read<T: DeserializeOwned>(text: &str, file: &Path) -> Result<T, ConfigError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        reject_unsupported_tags: true,
        merge_keys: MergeKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| shape_error(&error, file))
}

fn shape_error(error: &Error, file: &Path) -> ConfigError {
    let location = error.location().unwrap_or(Location::UNKNOWN);
    let message = error
        .without_snippet()
        .render_with_formatter(&UserMessageFormatter);
    // The position is told once, in front.
    let message = message
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .to_owned();
    ConfigError::at(
        file,
        location.line().max(1),
        location.column().max(1),
        message,
    )
}

/// Collects the mistakes of values, so that all are told at once.
#[derive(Debug)]
pub(super) struct Mistakes<'a> {
    file: &'a Path,
    found: Vec<ConfigError>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn of(file: &'a Path) -> Self {
        Self {
            file,
            found: Vec::new(),
        }
    }

    /// Returns the good value, or notes the mistake where it was written.
    pub(super) fn keep<T, S, E: Display>(
        &mut self,
        at: &Spanned<S>,
        value: Result<T, E>,
    ) -> Option<T> {
        value.map_err(|error| self.add(at, error.to_string())).ok()
    }

    pub(super) fn add<S>(&mut self, at: &Spanned<S>, message: String) {
        let location = at.referenced;
        self.found.push(ConfigError::at(
            self.file,
            location.line().max(1),
            location.column().max(1),
            message,
        ));
    }

    /// Returns the value only when nothing was wrong anywhere.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<ConfigError>> {
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            Some(_) | None => Err(self.found),
        }
    }
}

/// An optional key: a key left blank is a mistake, not an absence.
pub(super) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads `30s`, `10m`, `1h` or `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let unit = text.chars().last().ok_or_else(invalid)?;
    let count: u64 = text
        .trim_end_matches(unit)
        .parse()
        .map_err(|_not_a_number| invalid())?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _other => return Err(invalid()),
    };
    count
        .checked_mul(seconds)
        .filter(|total| *total > 0)
        .map(Duration::from_secs)
        .ok_or_else(invalid)
}

/// A text that is no duration.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a duration like `30s`, `10m`, `1h` or `7d`")]
pub(super) struct InvalidDuration(String);

/// Checks `host:port`.
pub(super) fn host_and_port(text: &str) -> Result<String, InvalidAddress> {
    let valid = text
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if valid {
        Ok(text.to_owned())
    } else {
        Err(InvalidAddress(text.to_owned()))
    }
}

/// A text that is no address.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not `host:port`")]
pub(super) struct InvalidAddress(String);
