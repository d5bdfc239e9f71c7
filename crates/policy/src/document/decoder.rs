//! Takes a tree apart, value by value, and collects every error on the way.

use std::fmt::Display;

use super::node::{At, Node, Place};
use crate::error::{PolicyError, Problem};

mod fields;

use fields::Entries;
pub(super) use fields::Fields;

/// Collects errors while values are taken out of a tree. What could not be taken is `None`, and has been reported.
pub(super) struct Decoder<'e> {
    errors: &'e mut Vec<PolicyError>,
}

impl<'e> Decoder<'e> {
    pub(super) fn new(errors: &'e mut Vec<PolicyError>) -> Self {
        Self { errors }
    }

    pub(super) fn report(&mut self, place: &Place, problem: Problem) {
        self.errors.push(place.clone().error(problem));
    }

    /// A mapping that may hold these keys.
    pub(super) fn fields(&mut self, node: At<Node>, known: &[&str]) -> Option<Fields> {
        let entries = self.mapping(&node.place, node.value)?;
        Some(Fields::sift(node.place, entries, known, self))
    }

    /// A list with at least one entry.
    pub(super) fn list(&mut self, node: At<Node>) -> Option<Vec<At<Node>>> {
        let shape = node.value.shape();
        let Node::List(items) = node.value else {
            return self.wrong_shape(&node.place, "a list", shape);
        };
        if items.is_empty() {
            self.report(&node.place, Problem::EmptyList);
        }
        (!items.is_empty()).then_some(items)
    }

    /// A list of distinct texts, each read by `parse`. `None` only when it is no list; entries that fail are left out.
    pub(super) fn parsed_list<T, E: Display>(
        &mut self,
        node: At<Node>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<Vec<At<T>>> {
        let items = self.list(node)?;
        let mut seen: Vec<String> = Vec::new();
        let mut parsed = Vec::new();
        for item in items {
            let Some(text) = self.text(item) else {
                continue;
            };
            if seen.contains(&text.value) {
                self.report(&text.place, Problem::DuplicateEntry { value: text.value });
                continue;
            }
            parsed.extend(self.parse_text(&text, &parse));
            seen.push(text.value);
        }
        Some(parsed)
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, node: At<Node>) -> Option<At<String>> {
        let At { place, value } = node;
        let shape = value.shape();
        let expected = match &value {
            Node::Bool(_) | Node::Integer(_) | Node::OtherNumber => "a text in quotes",
            Node::Blank | Node::Text(_) | Node::List(_) | Node::Mapping(_) => "a text",
        };
        let Node::Text(value) = value else {
            return self.wrong_shape(&place, expected, shape);
        };
        if value.trim().is_empty() {
            self.report(&place, Problem::EmptyText);
            return None;
        }
        Some(At { place, value })
    }

    /// A text that its type can read.
    pub(super) fn parsed<T, E: Display>(
        &mut self,
        node: At<Node>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        let text = self.text(node)?;
        self.parse_text(&text, parse)
    }

    /// A whole number that is not negative.
    pub(super) fn integer(&mut self, node: At<Node>) -> Option<At<u64>> {
        let At { place, value } = node;
        let shape = value.shape();
        let Node::Integer(value) = value else {
            return self.wrong_shape(&place, "a whole number", shape);
        };
        Some(At { place, value })
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, node: At<Node>) -> Option<At<bool>> {
        let At { place, value } = node;
        let shape = value.shape();
        let Node::Bool(value) = value else {
            return self.wrong_shape(&place, "true or false", shape);
        };
        Some(At { place, value })
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&mut self, node: At<Node>, words: &[(&str, T)]) -> Option<At<T>> {
        let text = self.text(node)?;
        let known = words.iter().find(|(word, _)| *word == text.value);
        if known.is_none() {
            let expected = listed(words.iter().map(|(word, _)| *word));
            self.report(
                &text.place,
                Problem::UnknownValue {
                    value: text.value.clone(),
                    expected,
                },
            );
        }
        known.map(|(_, value)| At {
            place: text.place,
            value: *value,
        })
    }

    /// A name of ours: what may be part of a path or a metric's label.
    pub(super) fn name(&mut self, node: At<Node>) -> Option<At<String>> {
        let name = self.text(node)?;
        if is_name(&name.value) {
            return Some(name);
        }
        self.report(&name.place, Problem::InvalidName { name: name.value });
        None
    }

    /// A mapping of texts to texts, with at least one entry.
    pub(super) fn text_map(&mut self, node: At<Node>) -> Option<Vec<(String, String)>> {
        let entries = self.mapping(&node.place, node.value)?;
        if entries.is_empty() {
            self.report(&node.place, Problem::EmptyList);
            return None;
        }
        let mut texts: Vec<(String, String)> = Vec::new();
        for (key, value) in entries {
            if texts.iter().any(|(seen, _)| *seen == key.value) {
                self.report(&key.place, Problem::DuplicateKey { key: key.value });
            } else if value.value == Node::Blank {
                self.report(&key.place, Problem::Blank { key: key.value });
            } else if let Some(text) = self.text(value) {
                texts.push((key.value, text.value));
            }
        }
        Some(texts)
    }

    /// A text that was taken before, read by `parse`.
    pub(super) fn parse_text<T, E: Display>(
        &mut self,
        text: &At<String>,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<At<T>> {
        match parse(&text.value) {
            Ok(value) => Some(At {
                place: text.place.clone(),
                value,
            }),
            Err(error) => {
                self.report(
                    &text.place,
                    Problem::InvalidValue {
                        message: error.to_string(),
                    },
                );
                None
            }
        }
    }

    fn mapping(&mut self, place: &Place, node: Node) -> Option<Entries> {
        let shape = node.shape();
        let Node::Mapping(entries) = node else {
            return self.wrong_shape(place, "a mapping", shape);
        };
        Some(entries)
    }

    fn wrong_shape<T>(
        &mut self,
        place: &Place,
        expected: &'static str,
        found: &'static str,
    ) -> Option<T> {
        self.report(place, Problem::Shape { expected, found });
        None
    }
}

fn listed<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

fn is_name(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = [text.bytes().next(), text.bytes().next_back()];
    text.len() <= MAX_NAME_BYTES
        && ends.into_iter().all(|end| end.is_some_and(alphanumeric))
        && text.bytes().all(|byte| alphanumeric(byte) || byte == b'-')
}

/// A DNS label, which is also safe as a directory name and as a label of a metric.
const MAX_NAME_BYTES: usize = 63;
