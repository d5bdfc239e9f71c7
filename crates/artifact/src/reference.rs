//! Names in a registry: a repository, a tag, and what a manifest is asked by.

use std::{fmt, sync::Arc};

use evidence::{Digest, InvalidDigest};
use serde::{Deserialize, Serialize};

/// A repository name of the OCI distribution grammar, without a host.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Repository(Arc<str>);

/// A tag of the OCI distribution grammar.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

/// What a manifest is asked by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// A name that somebody may move.
    Tag(Tag),
    /// The bytes themselves.
    Digest(Digest),
}

/// Why a text is not a name in a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// The repository breaks the grammar.
    #[error("not a repository name of the OCI grammar")]
    Repository,
    /// The repository is longer than [`MAX_REPOSITORY_BYTES`].
    #[error("a repository name of {got} bytes is longer than {MAX_REPOSITORY_BYTES}")]
    RepositoryTooLong {
        /// Its length.
        got: usize,
    },
    /// The tag breaks the grammar.
    #[error("not a tag of the OCI grammar")]
    Tag,
    /// It has a colon, as only a digest does, and is none.
    #[error("not a digest")]
    Digest {
        /// The broken rule.
        #[source]
        source: InvalidDigest,
    },
}

/// The longest repository name: what registries and clients agree on.
pub const MAX_REPOSITORY_BYTES: usize = 255;

const MAX_TAG_BYTES: usize = 128;

impl Repository {
    /// Reads a name; nothing is repaired.
    ///
    /// # Errors
    /// [`InvalidReference`] if it breaks the grammar or is too long.
    // SPEC(OCI distribution, "Pulling manifests"): [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if text.len() > MAX_REPOSITORY_BYTES {
            return Err(InvalidReference::RepositoryTooLong { got: text.len() });
        }
        if text.split('/').all(is_component) {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidReference::Repository)
        }
    }

    /// The name as it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`: words with separators between them, never at an end.
fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut separators = text
        .split(is_word)
        .filter(|separator| !separator.is_empty());
    text.starts_with(is_word) && text.ends_with(is_word) && separators.all(is_separator)
}

fn is_separator(text: &str) -> bool {
    matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-')
}

impl Tag {
    /// Reads a tag; nothing is repaired.
    ///
    /// # Errors
    /// [`InvalidReference::Tag`] if it breaks the grammar or is too long.
    // SPEC(OCI distribution, "Pulling manifests"): [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let is_first = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_next = |byte: u8| is_first(byte) || byte == b'.' || byte == b'-';
        let fits = text.len() <= MAX_TAG_BYTES
            && text.bytes().next().is_some_and(is_first)
            && text.bytes().all(is_next);
        if fits {
            Ok(Self(Arc::from(text)))
        } else {
            Err(InvalidReference::Tag)
        }
    }

    /// The tag as it stands in a path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Reference {
    /// Reads a tag or a digest. Only a digest has a colon.
    ///
    /// # Errors
    /// [`InvalidReference`] if it is neither.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        if text.contains(':') {
            Digest::parse(text)
                .map(Self::Digest)
                .map_err(|source| InvalidReference::Digest { source })
        } else {
            Tag::parse(text).map(Self::Tag)
        }
    }

    /// The reference as it stands in a path.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tag(tag) => tag.as_str(),
            Self::Digest(digest) => digest.as_str(),
        }
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Repository {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, InvalidReference> {
        Self::parse(&text)
    }
}

impl From<Repository> for String {
    fn from(repository: Repository) -> Self {
        repository.0.to_string()
    }
}

impl TryFrom<String> for Tag {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, InvalidReference> {
        Self::parse(&text)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_the_grammar_are_repositories() {
        for name in [
            "a",
            "0",
            "prod/payments",
            "a.b/c_d/e__f/g---h",
            "a/manifests/b",
            "library/x86-64",
        ] {
            assert_eq!(Repository::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_outside_the_grammar_are_not() {
        for name in [
            "", "/", "a/", "/a", "a//b", "A", "a..b", "a._b", "a___b", "-a", "a-", "a/.", "a/..",
            "a%2fb", "a:b", "ä", "a b",
        ] {
            assert_eq!(
                Repository::parse(name),
                Err(InvalidReference::Repository),
                "{name}"
            );
        }
        assert_eq!(
            Repository::parse(&"a".repeat(256)),
            Err(InvalidReference::RepositoryTooLong { got: 256 })
        );
    }

    #[test]
    fn a_reference_is_a_tag_or_a_digest() {
        let digest = Digest::sha256_of(b"x");
        assert_eq!(
            Reference::parse(digest.as_str()),
            Ok(Reference::Digest(digest))
        );
        assert_eq!(
            Reference::parse("1.4").unwrap(),
            Reference::Tag(Tag::parse("1.4").unwrap())
        );
        assert!(matches!(
            Reference::parse("sha256:1"),
            Err(InvalidReference::Digest { .. })
        ));
        let long = "a".repeat(129);
        for tag in ["", ".a", "-a", "a/b", "a b", "ä", long.as_str()] {
            assert_eq!(Reference::parse(tag), Err(InvalidReference::Tag), "{tag}");
        }
    }

    proptest! {
        #[test]
        fn every_name_that_the_grammar_makes_is_read(name in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}){0,3}") {
            prop_assert!(Repository::parse(&name).is_ok());
        }

        #[test]
        fn no_text_at_all_panics(text in ".{0,40}") {
            drop((Repository::parse(&text), Reference::parse(&text)));
        }
    }
}
