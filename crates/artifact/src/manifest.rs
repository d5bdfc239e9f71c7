//! Manifests and indexes, read so that no two readers can see different things in them.

use std::collections::BTreeMap;

use evidence::{Digest, InvalidDigest};

mod keys;
mod raw;
#[cfg(test)]
mod tests;

use raw::{Kind, RawManifest};

/// One manifest document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// A config and layers.
    Image(Image),
    /// A list of other manifests.
    Index(Index),
}

/// An image manifest. Signatures and other artifacts come as one too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The config blob.
    pub config: Descriptor,
    /// The layer blobs, in order.
    pub layers: Vec<Descriptor>,
    /// Annotations of the manifest: hints, unless the manifest itself is signed.
    pub annotations: BTreeMap<String, String>,
}

/// An image index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The manifests it lists, in order.
    pub children: Vec<Descriptor>,
}

/// A reference to content by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What the content is said to be.
    pub media_type: String,
    /// What it hashes to.
    pub digest: Digest,
    /// How long it is said to be.
    pub size: u64,
    /// What kind of artifact an index says it is: a hint.
    pub artifact_type: Option<String>,
    /// Annotations of the descriptor.
    pub annotations: BTreeMap<String, String>,
}

/// Why bytes are not a [`Manifest`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidManifest {
    /// It is not the JSON of a manifest.
    #[error("not the JSON of a manifest")]
    Json {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// Its schema is not version 2.
    #[error("the schema version is {got}, not 2")]
    SchemaVersion {
        /// Its version.
        got: u64,
    },
    /// It is of a media type that we do not read, or says none at all.
    #[error("the media type `{got}` is neither an image nor an index")]
    UnknownType {
        /// Its media type.
        got: String,
    },
    /// The body and the Content-Type name different types.
    #[error("the body says `{body}`, the Content-Type `{header}`")]
    TypeMismatch {
        /// The type in the body.
        body: String,
        /// The type in the header.
        header: String,
    },
    /// It holds what only the other kind of document has, so that two readers could read two documents.
    #[error("`{field}` has no place in this kind of manifest")]
    Ambiguous {
        /// The field out of place.
        field: &'static str,
    },
    /// A digest in it is not one.
    #[error("a descriptor's digest is not one")]
    Digest {
        /// The broken rule.
        #[source]
        source: InvalidDigest,
    },
    /// A layer is to be fetched from elsewhere, around every gate.
    #[error("`{digest}` is to be fetched from elsewhere: `urls` are refused")]
    ForeignUrls {
        /// The content.
        digest: Digest,
    },
    /// It refers to more content than we follow.
    #[error("it refers to {got} pieces of content, more than {MAX_DESCRIPTORS}")]
    TooManyDescriptors {
        /// How many.
        got: usize,
    },
}

/// The most layers of an image, or children of an index.
pub const MAX_DESCRIPTORS: usize = 512;

/// The media types of image manifests.
pub const IMAGE_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The media types of indexes.
pub const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

impl Manifest {
    /// Reads a manifest. `content_type` is the answer's header, if it has one; parameters in it are ignored.
    ///
    /// # Errors
    /// [`InvalidManifest`], one variant per broken rule.
    // SPEC(CVE-2021-41190): one document must not read as an image to one and as an index to another.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, InvalidManifest> {
        keys::check(bytes).map_err(|source| InvalidManifest::Json { source })?;
        let raw: RawManifest =
            serde_json::from_slice(bytes).map_err(|source| InvalidManifest::Json { source })?;
        if raw.schema_version != 2 {
            return Err(InvalidManifest::SchemaVersion {
                got: raw.schema_version,
            });
        }
        match Kind::of(raw.media_type.as_deref(), content_type)? {
            Kind::Image => Image::try_from(raw).map(Self::Image),
            Kind::Index => Index::try_from(raw).map(Self::Index),
        }
    }

    /// The content it refers to directly.
    pub fn descriptors(&self) -> impl Iterator<Item = &Descriptor> {
        let (config, rest) = match self {
            Self::Image(image) => (Some(&image.config), &image.layers),
            Self::Index(index) => (None, &index.children),
        };
        config.into_iter().chain(rest)
    }
}
