//! What is wrong with a configuration file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use serde_saphyr::Location;

/// One thing wrong with the file, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as it was named.
    pub file: PathBuf,
    /// Line, from 1; 0 when the error has no place.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What was expected.
    pub message: String,
}

/// Everything that was found wrong. Never empty.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl std::error::Error for ConfigErrors {}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
        } = self;
        if *line == 0 {
            write!(f, "{}: {message}", file.display())
        } else {
            write!(f, "{}:{line}:{column}: {message}", file.display())
        }
    }
}

/// Collects what is wrong with one file.
pub(super) struct Faults<'a> {
    file: &'a Path,
    errors: Vec<ConfigError>,
}

impl<'a> Faults<'a> {
    pub(super) fn new(file: &'a Path) -> Self {
        Self {
            file,
            errors: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, place: Location, message: String) {
        self.push(Some(place), message);
    }

    pub(super) fn only(mut self, place: Option<Location>, message: String) -> ConfigErrors {
        self.push(place, message);
        ConfigErrors(self.errors)
    }

    /// The value, if nothing was wrong.
    pub(super) fn none_or<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            Ok(value)
        } else {
            Err(ConfigErrors(self.errors))
        }
    }

    fn push(&mut self, place: Option<Location>, message: String) {
        let (line, column) = place.map_or((0, 0), |place| (place.line(), place.column()));
        self.errors.push(ConfigError {
            file: self.file.to_owned(),
            line,
            column,
            message,
        });
    }
}
