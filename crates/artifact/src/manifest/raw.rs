//! The JSON of a manifest, before it is held to be of one kind.

use std::collections::BTreeMap;

use evidence::Digest;
use serde::Deserialize;

use super::{Descriptor, IMAGE_TYPES, INDEX_TYPES, Image, Index, InvalidManifest, MAX_DESCRIPTORS};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Index,
}

impl Kind {
    pub(super) fn of(body: Option<&str>, header: Option<&str>) -> Result<Self, InvalidManifest> {
        let header = header.map(essence).filter(|header| !header.is_empty());
        let named = match (body, header) {
            (Some(body), Some(header)) if body != header => {
                return Err(InvalidManifest::TypeMismatch {
                    body: body.to_owned(),
                    header: header.to_owned(),
                });
            }
            (Some(named), _) | (None, Some(named)) => named,
            (None, None) => "",
        };
        if IMAGE_TYPES.contains(&named) {
            Ok(Self::Image)
        } else if INDEX_TYPES.contains(&named) {
            Ok(Self::Index)
        } else {
            Err(InvalidManifest::UnknownType {
                got: named.to_owned(),
            })
        }
    }
}

/// A media type without its parameters.
fn essence(content_type: &str) -> &str {
    content_type
        .split_once(';')
        .map_or(content_type, |(essence, _)| essence)
        .trim()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawManifest {
    pub(super) schema_version: u64,
    pub(super) media_type: Option<String>,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    urls: Option<Vec<String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl TryFrom<RawManifest> for Image {
    type Error = InvalidManifest;

    fn try_from(raw: RawManifest) -> Result<Self, InvalidManifest> {
        let RawManifest {
            schema_version: _,
            media_type: _,
            config,
            layers,
            manifests,
            annotations,
        } = raw;
        if manifests.is_some() {
            return Err(InvalidManifest::Ambiguous { field: "manifests" });
        }
        let (Some(config), Some(layers)) = (config, layers) else {
            return Err(InvalidManifest::Json {
                source: missing("config` or `layers"),
            });
        };
        Ok(Self {
            config: Descriptor::try_from(config)?,
            layers: descriptors(layers)?,
            annotations: annotations.unwrap_or_default(),
        })
    }
}

impl TryFrom<RawManifest> for Index {
    type Error = InvalidManifest;

    fn try_from(raw: RawManifest) -> Result<Self, InvalidManifest> {
        let RawManifest {
            schema_version: _,
            media_type: _,
            config,
            layers,
            manifests,
            annotations: _,
        } = raw;
        if config.is_some() {
            return Err(InvalidManifest::Ambiguous { field: "config" });
        }
        if layers.is_some() {
            return Err(InvalidManifest::Ambiguous { field: "layers" });
        }
        let Some(manifests) = manifests else {
            return Err(InvalidManifest::Json {
                source: missing("manifests"),
            });
        };
        Ok(Self {
            children: descriptors(manifests)?,
        })
    }
}

fn missing(field: &'static str) -> serde_json::Error {
    serde::de::Error::missing_field(field)
}

fn descriptors(raw: Vec<RawDescriptor>) -> Result<Vec<Descriptor>, InvalidManifest> {
    if raw.len() > MAX_DESCRIPTORS {
        return Err(InvalidManifest::TooManyDescriptors { got: raw.len() });
    }
    raw.into_iter().map(Descriptor::try_from).collect()
}

impl TryFrom<RawDescriptor> for Descriptor {
    type Error = InvalidManifest;

    fn try_from(raw: RawDescriptor) -> Result<Self, InvalidManifest> {
        let RawDescriptor {
            media_type,
            digest,
            size,
            artifact_type,
            urls,
            annotations,
        } = raw;
        let digest = Digest::parse(&digest).map_err(|source| InvalidManifest::Digest { source })?;
        if urls.is_some_and(|urls| !urls.is_empty()) {
            return Err(InvalidManifest::ForeignUrls { digest });
        }
        Ok(Self {
            media_type,
            digest,
            size,
            artifact_type,
            annotations: annotations.unwrap_or_default(),
        })
    }
}
