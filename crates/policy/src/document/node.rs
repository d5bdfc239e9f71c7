//! A YAML document as a tree in which every key and value knows its place.

use std::fmt;
use std::sync::Arc;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{
    DuplicateKeyPolicy, Location, MergeKeyPolicy, Options, Spanned, UserMessageFormatter,
};

use crate::error::{PolicyError, Problem};

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct At<T> {
    pub(crate) place: Place,
    pub(crate) value: T,
}

/// A place in a file; line and column count from 1, the column in characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    file: Arc<str>,
    line: u64,
    column: u64,
}

impl Place {
    /// The first character of a file.
    pub(crate) fn start_of(file: &str) -> Self {
        Self {
            file: file.into(),
            line: 1,
            column: 1,
        }
    }

    /// The error of this problem here.
    pub(crate) fn error(self, problem: Problem) -> PolicyError {
        PolicyError {
            file: self.file.to_string(),
            line: self.line,
            column: self.column,
            problem,
        }
    }

    fn of(file: &Arc<str>, location: Location) -> Self {
        Self {
            file: Arc::clone(file),
            line: location.line(),
            column: location.column(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A YAML value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    /// Nothing, `null` or `~`.
    Blank,
    Bool(bool),
    Integer(u64),
    /// A negative or fractional number. Nothing in the language is one.
    OtherNumber,
    Text(String),
    List(Vec<At<Node>>),
    /// Keys may repeat.
    Mapping(Vec<(At<String>, At<Node>)>),
}

impl Node {
    /// The shape in words.
    pub(crate) fn shape(&self) -> &'static str {
        match self {
            Self::Blank => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::OtherNumber => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }
}

/// Reads every document of a file. Documents without content are passed over. After a syntax error nothing more is read.
pub(super) fn parse(file: &str, text: &str, errors: &mut Vec<PolicyError>) -> Vec<At<Node>> {
    let file: Arc<str> = file.into();
    let mut reader = text.as_bytes();
    let mut roots = Vec::new();
    for document in serde_saphyr::read_with_options::<_, Spanned<RawNode>>(&mut reader, options()) {
        match document {
            Ok(root) => roots.push(place(&file, root)),
            Err(error) => errors.push(syntax_error(&file, &error)),
        }
    }
    roots
}

fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

fn syntax_error(file: &Arc<str>, error: &serde_saphyr::Error) -> PolicyError {
    let place = error.location().map_or_else(
        || Place::start_of(file),
        |location| Place::of(file, location),
    );
    let rendered = error
        .without_snippet()
        .render_with_formatter(&UserMessageFormatter);
    let message = rendered
        .split(" at line ")
        .next()
        .unwrap_or_default()
        .replace('\n', " ");
    place.error(Problem::Syntax { message })
}

fn place(file: &Arc<str>, raw: Spanned<RawNode>) -> At<Node> {
    let value = match raw.value {
        RawNode::Scalar(node) => node,
        RawNode::List(items) => {
            Node::List(items.into_iter().map(|item| place(file, item)).collect())
        }
        RawNode::Mapping(entries) => Node::Mapping(
            entries
                .into_iter()
                .map(|(key, value)| {
                    (
                        At {
                            place: Place::of(file, key.referenced),
                            value: key.value,
                        },
                        place(file, value),
                    )
                })
                .collect(),
        ),
    };
    At {
        place: Place::of(file, raw.referenced),
        value,
    }
}

/// The tree as serde builds it, before it knows its file.
enum RawNode {
    Scalar(Node),
    List(Vec<Spanned<RawNode>>),
    Mapping(Vec<(Spanned<String>, Spanned<RawNode>)>),
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawNodeVisitor)
    }
}

struct RawNodeVisitor;

impl<'de> Visitor<'de> for RawNodeVisitor {
    type Value = RawNode;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::Blank))
    }

    fn visit_none<E>(self) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::Blank))
    }

    fn visit_bool<E>(self, value: bool) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::Bool(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::Integer(value)))
    }

    fn visit_u128<E>(self, _value: u128) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::OtherNumber))
    }

    fn visit_i64<E>(self, value: i64) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(
            u64::try_from(value).map_or(Node::OtherNumber, Node::Integer),
        ))
    }

    fn visit_i128<E>(self, _value: i128) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::OtherNumber))
    }

    fn visit_f64<E>(self, _value: f64) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::OtherNumber))
    }

    fn visit_str<E>(self, value: &str) -> Result<RawNode, E> {
        Ok(RawNode::Scalar(Node::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<RawNode, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(RawNode::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<RawNode, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(RawNode::Mapping(entries))
    }
}
