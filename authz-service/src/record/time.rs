//! Times in records: RFC 3339 in UTC.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de, ser};

/// The time as RFC 3339 text, or `?` for one that has none.
pub fn text(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(
        |_outside_calendar| "?".to_owned(),
        |timestamp| timestamp.to_string(),
    )
}

/// Writes the time.
///
/// # Errors
/// The time is outside the calendar.
pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let timestamp = Timestamp::try_from(*time).map_err(ser::Error::custom)?;
    serializer.collect_str(&timestamp)
}

/// Reads the time.
///
/// # Errors
/// The text is not RFC 3339.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse::<Timestamp>()
        .map(SystemTime::from)
        .map_err(de::Error::custom)
}
