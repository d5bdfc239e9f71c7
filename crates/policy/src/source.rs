//! The bytes of a policy directory, as the shell read them.

use std::collections::BTreeMap;

use evidence::digest::Digest;

/// Every file of a policy directory by its path relative to it, with `/` between the parts.
///
/// Files named `*.yaml` or `*.yml` are policy documents; all others are there to be referred to, such as `keys/release.pub`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicySource {
    /// The files.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// The bytes are not an encoded policy source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicySource {
    /// The bytes do not begin with the mark of this format.
    #[error("the bytes do not begin with the mark of a policy source")]
    Mark,
    /// The bytes end within a file.
    #[error("the bytes end within a file")]
    Truncated,
    /// A path is not UTF-8.
    #[error("a path is not UTF-8")]
    Path,
    /// A path does not follow the one before it.
    #[error("path `{path}` is not in order")]
    Order {
        /// The path.
        path: String,
    },
}

impl PolicySource {
    /// Hashes every path and every byte: the lower-case hex of SHA-256 over [`Self::encode`].
    pub fn hash(&self) -> String {
        Digest::sha256_of(&self.encode()).hex().to_owned()
    }

    /// Encodes the files in order of their paths, each part preceded by its length, so that no two sources encode alike.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MARK.to_vec();
        for (path, content) in &self.files {
            for part in [path.as_bytes(), content.as_slice()] {
                bytes.extend_from_slice(&length_prefix(part));
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes were not written by it.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidPolicySource> {
        let mut rest = bytes
            .strip_prefix(MARK.as_slice())
            .ok_or(InvalidPolicySource::Mark)?;
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        while !rest.is_empty() {
            let path = String::from_utf8(take_part(&mut rest)?.to_vec())
                .map_err(|_utf8| InvalidPolicySource::Path)?;
            let content = take_part(&mut rest)?.to_vec();
            if files
                .last_key_value()
                .is_some_and(|(last, _)| *last >= path)
            {
                return Err(InvalidPolicySource::Order { path });
            }
            files.insert(path, content);
        }
        Ok(Self { files })
    }
}

impl FromIterator<(String, Vec<u8>)> for PolicySource {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(files: I) -> Self {
        Self {
            files: files.into_iter().collect(),
        }
    }
}

/// A slice is never longer than `isize::MAX`, so its length fits.
fn length_prefix(part: &[u8]) -> [u8; PREFIX_BYTES] {
    u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes()
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], InvalidPolicySource> {
    let (prefix, after) = rest
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or(InvalidPolicySource::Truncated)?;
    let length = usize::try_from(u64::from_be_bytes(*prefix))
        .map_err(|_range| InvalidPolicySource::Truncated)?;
    let (part, after) = after
        .split_at_checked(length)
        .ok_or(InvalidPolicySource::Truncated)?;
    *rest = after;
    Ok(part)
}

const MARK: [u8; 25] = *b"countersign policy source";
const PREFIX_BYTES: usize = 8;

/// Most files of one directory: far above any real policy, low enough to hash every two seconds.
pub const MAX_FILES: usize = 4096;
/// Largest file in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &str)]) -> PolicySource {
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn moving_a_byte_between_path_and_content_changes_the_hash() {
        assert_ne!(source(&[("ab", "c")]).hash(), source(&[("a", "bc")]).hash());
        assert_ne!(
            source(&[("a", "b"), ("c", "d")]).hash(),
            source(&[("a", "bcd")]).hash()
        );
        assert_eq!(source(&[("a", "b")]).hash(), source(&[("a", "b")]).hash());
    }

    #[test]
    fn encoded_source_decodes_to_itself() {
        for source in [
            source(&[]),
            source(&[("a.yaml", ""), ("keys/a.pub", "pem")]),
        ] {
            assert_eq!(PolicySource::decode(&source.encode()), Ok(source));
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert_eq!(PolicySource::decode(b"{}"), Err(InvalidPolicySource::Mark));
    }

    #[test]
    fn truncated_bytes_are_refused() {
        let bytes = source(&[("a.yaml", "text")]).encode();
        for length in MARK.len() + 1..bytes.len() {
            assert_eq!(
                PolicySource::decode(&bytes[..length]),
                Err(InvalidPolicySource::Truncated),
                "{length}"
            );
        }
    }

    #[test]
    fn path_that_is_not_text_is_refused() {
        let mut bytes = source(&[("a", "")]).encode();
        bytes[MARK.len() + PREFIX_BYTES] = 0xff;
        assert_eq!(PolicySource::decode(&bytes), Err(InvalidPolicySource::Path));
    }

    #[test]
    fn repeated_path_is_refused() {
        let one = source(&[("a", "x")]).encode();
        let twice = [one.as_slice(), &one[MARK.len()..]].concat();
        assert_eq!(
            PolicySource::decode(&twice),
            Err(InvalidPolicySource::Order {
                path: "a".to_owned()
            })
        );
    }
}
