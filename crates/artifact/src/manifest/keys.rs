//! Refuses JSON whose keys two readers could understand differently.
//!
//! Go's decoder, which every common registry client uses, matches keys without regard to case and lets the last one win. A document with `layers`
//! and `Layers`, or with `URLs` alone, is therefore one thing to us and another to the client.

use std::{collections::BTreeSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Checks every object of the document: no key twice in any case, and no known key in a case of its own.
pub(super) fn check(json: &[u8]) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Node::Object.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// The keys that a reader of manifests looks for.
const KNOWN: [&str; 16] = [
    "annotations",
    "artifactType",
    "blobs",
    "config",
    "data",
    "digest",
    "fsLayers",
    "history",
    "layers",
    "manifests",
    "mediaType",
    "platform",
    "schemaVersion",
    "size",
    "subject",
    "urls",
];

/// Where in the document a value stands.
#[derive(Clone, Copy)]
enum Node {
    /// Keys are fields.
    Object,
    /// Keys are the writer's own: only exact repetition matters.
    Annotations,
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without ambiguous keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            let folded = match self {
                Self::Object => fold(&key)?,
                Self::Annotations => key.clone(),
            };
            if !seen.insert(folded) {
                return Err(A::Error::custom(format_args!("key `{key}` stands twice")));
            }
            let below = if key == "annotations" {
                Self::Annotations
            } else {
                Self::Object
            };
            map.next_value_seed(below)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// The key without case; Go folds `ſ` and the Kelvin sign into letters too, which needs both directions.
fn fold<E: Error>(key: &str) -> Result<String, E> {
    let folded = key.to_uppercase().to_lowercase();
    match KNOWN.iter().find(|known| known.to_lowercase() == folded) {
        Some(known) if *known != key => {
            Err(E::custom(format_args!("key `{key}` reads as `{known}`")))
        }
        Some(_) | None => Ok(folded),
    }
}
