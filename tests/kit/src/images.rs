//! The recorded images of `tests/data`, and pushing them to a registry as they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use evidence::digest::Digest;
use serde_json::Value;

use crate::wire::{Call, Reply, plain};
use crate::workspace;

/// Everything that a registry held of one repository.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Tag to digest.
    pub tags: BTreeMap<String, String>,
    /// Digest to bytes.
    pub manifests: BTreeMap<String, Bytes>,
    /// Digest to bytes.
    pub blobs: BTreeMap<String, Bytes>,
}

impl Recorded {
    /// Reads a recorded repository, such as `prod/payments`.
    ///
    /// # Errors
    ///
    /// When it was not recorded.
    pub fn read(repository: &str) -> anyhow::Result<Self> {
        let directory = workspace::root()
            .join("tests/data/registry")
            .join(repository);
        let tags = std::fs::read(directory.join("tags.json"))
            .with_context(|| format!("{repository} is not recorded"))?;
        Ok(Self {
            tags: serde_json::from_slice(&tags)?,
            manifests: read_all(&directory.join("manifests"))?,
            blobs: read_all(&directory.join("blobs"))?,
        })
    }

    /// The digest that `tag` names.
    ///
    /// # Errors
    ///
    /// When there is no such tag.
    pub fn digest(&self, tag: &str) -> anyhow::Result<&str> {
        self.tags
            .get(tag)
            .map(String::as_str)
            .with_context(|| format!("no tag {tag}"))
    }

    /// The digest of the first layer of the image that `tag` names.
    ///
    /// # Errors
    ///
    /// When there is no such tag, or it names no image.
    pub fn layer(&self, tag: &str) -> anyhow::Result<String> {
        let manifest = self
            .manifests
            .get(self.digest(tag)?)
            .context("no such manifest")?;
        let manifest: Value = serde_json::from_slice(manifest)?;
        let layer = manifest.pointer("/layers/0/digest").and_then(Value::as_str);
        Ok(layer.context("not an image")?.to_owned())
    }

    /// The same repository with only the tag `tag` and its image: nobody has signed it.
    ///
    /// # Errors
    ///
    /// When there is no such tag.
    pub fn without_signatures(&self, tag: &str) -> anyhow::Result<Self> {
        let digest = self.digest(tag)?.to_owned();
        let manifest = self
            .manifests
            .get(&digest)
            .context("no such manifest")?
            .clone();
        Ok(Self {
            tags: BTreeMap::from([(tag.to_owned(), digest.clone())]),
            manifests: BTreeMap::from([(digest, manifest)]),
            blobs: self.blobs.clone(),
        })
    }

    /// The same repository with one more name for the image that `tag` names, and only that name.
    ///
    /// # Errors
    ///
    /// When there is no such tag.
    pub fn renamed(&self, tag: &str, name: &str) -> anyhow::Result<Self> {
        let mut renamed = self.clone();
        let digest = renamed
            .tags
            .remove(tag)
            .with_context(|| format!("no tag {tag}"))?;
        renamed.tags.insert(name.to_owned(), digest);
        Ok(renamed)
    }

    /// Pushes everything, straight to the registry.
    ///
    /// # Errors
    ///
    /// When the registry does not take it.
    pub async fn push(&self, registry: SocketAddr, repository: &str) -> anyhow::Result<()> {
        for (digest, bytes) in &self.blobs {
            push_blob(registry, repository, digest, bytes).await?;
        }
        // What an index lists must be there before it.
        let (indexes, images): (Vec<_>, Vec<_>) = self
            .manifests
            .iter()
            .partition(|(_, bytes)| is_index(bytes));
        for (digest, bytes) in images.into_iter().chain(indexes) {
            push_manifest(registry, repository, digest, bytes).await?;
        }
        for (tag, digest) in &self.tags {
            let bytes = self.manifests.get(digest).context("a tag of nothing")?;
            push_manifest(registry, repository, tag, bytes).await?;
        }
        Ok(())
    }
}

fn read_all(directory: &Path) -> anyhow::Result<BTreeMap<String, Bytes>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory)
        .with_context(|| format!("cannot read {}", directory.display()))?
    {
        let bytes = std::fs::read(entry?.path())?;
        found.insert(Digest::sha256_of(&bytes).to_string(), Bytes::from(bytes));
    }
    Ok(found)
}

fn is_index(manifest: &[u8]) -> bool {
    serde_json::from_slice::<Value>(manifest)
        .is_ok_and(|manifest| manifest.get("manifests").is_some())
}

/// Puts a manifest under a tag or its digest, as anyone who may write to the registry can.
///
/// # Errors
///
/// When the registry does not take it.
pub async fn push_manifest(
    registry: SocketAddr,
    repository: &str,
    reference: &str,
    bytes: &Bytes,
) -> anyhow::Result<()> {
    let manifest: Value = serde_json::from_slice(bytes)?;
    let media_type = manifest
        .get("mediaType")
        .and_then(Value::as_str)
        .context("a manifest without a media type")?;
    let call = put(
        registry,
        &format!("/v2/{repository}/manifests/{reference}"),
        bytes,
    )
    .header("content-type", media_type);
    accepted(&plain(registry, &call).await?, "manifest")
}

async fn push_blob(
    registry: SocketAddr,
    repository: &str,
    digest: &str,
    bytes: &Bytes,
) -> anyhow::Result<()> {
    let upload = Call::new(
        "POST",
        &registry.to_string(),
        &format!("/v2/{repository}/blobs/uploads/"),
    );
    let begun = plain(registry, &upload).await?;
    accepted(&begun, "upload")?;
    let location = begun
        .headers
        .get("location")
        .context("an upload without a location")?;
    let path = location
        .split_once("://")
        .map_or(location.as_str(), |(_, rest)| {
            rest.trim_start_matches(|c| c != '/')
        });
    let call = put(registry, &format!("{path}&digest={digest}"), bytes)
        .header("content-type", "application/octet-stream");
    accepted(&plain(registry, &call).await?, "blob")
}

fn put(registry: SocketAddr, path: &str, bytes: &Bytes) -> Call {
    let mut call = Call::new("PUT", &registry.to_string(), path);
    call.body = bytes.clone();
    call
}

fn accepted(reply: &Reply, what: &str) -> anyhow::Result<()> {
    ensure!(
        (200..300).contains(&reply.status),
        "the registry refused a {what}: {} {}",
        reply.status,
        reply.text()
    );
    Ok(())
}
