//! From a tag to the digest that will be served, and from a digest to its manifest.

use std::sync::Arc;

use evidence::Digest;
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE};

use super::{
    client::{Answer, Client, check_digest},
    limits::MAX_MANIFEST_BYTES,
};
use crate::{
    error::ArtifactError,
    manifest::{IMAGE_TYPES, INDEX_TYPES, Manifest},
    reference::{Reference, Repository},
};

/// What a manifest request is answered with.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The hash of the very bytes that came.
    pub digest: Digest,
    /// Their media type.
    pub media_type: String,
    /// Their length.
    pub size: u64,
    /// What they say.
    pub manifest: Arc<Manifest>,
}

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

impl Client {
    /// Asks with the client's own Accept header, since one tag may be an index to one client and an image to another.
    pub(super) async fn resolve(
        &self,
        repository: &Repository,
        reference: &Reference,
        accept: &[String],
    ) -> Result<Resolved, ArtifactError> {
        let accept: Vec<_> = accept
            .iter()
            .map(|value| HeaderValue::from_str(value).map_err(|_unprintable| ArtifactError::Accept))
            .collect::<Result<_, _>>()?;
        let what = format!("manifest `{repository}` `{reference}`");
        let answer = self
            .get_manifest(repository, reference.as_str(), &accept, &what)
            .await?;
        let digest = match reference {
            Reference::Digest(digest) => digest.clone(),
            Reference::Tag(_) => digest_of(&answer, &what)?,
        };
        check_digest(&digest, &answer.body, &what)?;
        let manifest = parse(&answer, &what)?;
        self.cache(repository, &digest, &manifest, &answer.body);
        Ok(Resolved {
            digest,
            media_type: content_type(&answer.headers).unwrap_or_default().to_owned(),
            size: u64::try_from(answer.body.len()).unwrap_or(u64::MAX),
            manifest,
        })
    }

    pub(super) async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Arc<Manifest>, ArtifactError> {
        if let Some(manifest) = self.cached(repository, digest) {
            return Ok(manifest);
        }
        let what = format!("manifest `{repository}@{digest}`");
        let answer = self
            .get_manifest(repository, digest.as_str(), &readable(), &what)
            .await?;
        check_digest(digest, &answer.body, &what)?;
        let manifest = parse(&answer, &what)?;
        self.cache(repository, digest, &manifest, &answer.body);
        Ok(manifest)
    }

    /// A manifest by a tag that is looked up anew each time, such as that of a signature.
    pub(super) async fn tagged(
        &self,
        repository: &Repository,
        tag: &str,
    ) -> Result<Arc<Manifest>, ArtifactError> {
        let what = format!("manifest `{repository}:{tag}`");
        let answer = self
            .get_manifest(repository, tag, &readable(), &what)
            .await?;
        parse(&answer, &what)
    }

    async fn get_manifest(
        &self,
        repository: &Repository,
        reference: &str,
        accept: &[HeaderValue],
        what: &str,
    ) -> Result<Answer, ArtifactError> {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        self.get(url, accept, MAX_MANIFEST_BYTES, what).await
    }
}

/// The Accept header for every kind of manifest that we read.
fn readable() -> Vec<HeaderValue> {
    IMAGE_TYPES
        .into_iter()
        .chain(INDEX_TYPES)
        .map(HeaderValue::from_static)
        .collect()
}

fn parse(answer: &Answer, what: &str) -> Result<Arc<Manifest>, ArtifactError> {
    Manifest::parse(&answer.body, content_type(&answer.headers))
        .map(Arc::new)
        .map_err(|source| ArtifactError::malformed(what, source))
}

/// The digest that the registry names, which is then held to the bytes; without one, the bytes' own.
fn digest_of(answer: &Answer, what: &str) -> Result<Digest, ArtifactError> {
    let own = Digest::sha256_of(&answer.body);
    match answer.headers.get(CONTENT_DIGEST) {
        None => Ok(own),
        Some(named) => named
            .to_str()
            .ok()
            .and_then(|named| Digest::parse(named).ok())
            .ok_or_else(|| ArtifactError::DigestMismatch {
                what: what.to_owned(),
                got: own,
            }),
    }
}

pub(super) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
}
