//! Times as RFC 3339 in UTC in JSON.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};

pub(crate) fn serialize<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let timestamp = Timestamp::try_from(*time).map_err(S::Error::custom)?;
    serializer.collect_str(&timestamp)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    let timestamp: Timestamp = text.parse().map_err(D::Error::custom)?;
    Ok(SystemTime::from(timestamp))
}
