//! A tag or digest as one text in JSON, for `#[serde(with = "reference_text")]`. Only a digest has a colon.

use artifact::reference::Reference;
use serde::{Deserialize as _, Deserializer, Serializer, de};

pub(super) fn serialize<S: Serializer>(
    reference: &Reference,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(reference.as_str())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Reference, D::Error> {
    Reference::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}
