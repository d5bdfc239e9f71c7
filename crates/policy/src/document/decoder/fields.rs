//! The entries of one mapping.

use super::{Decoder, listed};
use crate::document::node::{At, Node, Place};
use crate::error::Problem;

/// The entries of one mapping. Blank, unknown and repeated keys have been reported and taken out.
pub(in crate::document) struct Fields {
    place: Place,
    entries: Entries,
    /// Keys that stand here but have no usable value, so that they are not called missing too.
    unusable: Vec<String>,
}

impl Fields {
    /// Takes what is usable out of `entries`, and reports the rest.
    pub(super) fn sift(
        place: Place,
        entries: Entries,
        known: &[&str],
        decoder: &mut Decoder<'_>,
    ) -> Self {
        let mut fields = Self {
            place,
            entries: Vec::new(),
            unusable: Vec::new(),
        };
        for (key, value) in entries {
            match entry_problem(&fields, known, &key, &value.value) {
                Some(problem) => {
                    decoder.report(&key.place, problem);
                    fields.unusable.push(key.value);
                }
                None => fields.entries.push((key, value)),
            }
        }
        fields
    }

    /// Where the mapping stands.
    pub(in crate::document) fn place(&self) -> &Place {
        &self.place
    }

    /// Where a key stands, if it has a usable value.
    pub(in crate::document) fn key_place(&self, key: &str) -> Option<&Place> {
        self.entries
            .iter()
            .find(|(entry, _)| entry.value == key)
            .map(|(entry, _)| &entry.place)
    }

    /// Whether a key stands here, usable or not.
    pub(in crate::document) fn has(&self, key: &str) -> bool {
        self.key_place(key).is_some() || self.unusable.iter().any(|unusable| unusable == key)
    }

    /// Takes a value that may be left out.
    pub(in crate::document) fn optional(&mut self, key: &str) -> Option<At<Node>> {
        let index = self
            .entries
            .iter()
            .position(|(entry, _)| entry.value == key)?;
        Some(self.entries.swap_remove(index).1)
    }

    /// Takes a value that must be there.
    pub(in crate::document) fn required(
        &mut self,
        key: &'static str,
        decoder: &mut Decoder<'_>,
    ) -> Option<At<Node>> {
        if !self.has(key) {
            decoder.report(&self.place, Problem::Missing { key });
        }
        self.optional(key)
    }
}

fn entry_problem(
    fields: &Fields,
    known: &[&str],
    key: &At<String>,
    value: &Node,
) -> Option<Problem> {
    let name = || key.value.clone();
    if !known.contains(&key.value.as_str()) {
        let expected = listed(known.iter().copied());
        return Some(Problem::UnknownKey {
            key: name(),
            expected,
        });
    }
    if fields.has(&key.value) {
        return Some(Problem::DuplicateKey { key: name() });
    }
    (*value == Node::Blank).then(|| Problem::Blank { key: name() })
}

/// Keys and values as they stand.
pub(super) type Entries = Vec<(At<String>, At<Node>)>;
