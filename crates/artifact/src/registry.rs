//! The registries we may ask, and what they are asked.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use evidence::Digest;
use url::Url;

use crate::{
    error::ArtifactError,
    manifest::Manifest,
    reference::{Reference, Repository},
};

mod client;
mod discover;
pub mod limits;
mod members;
mod page;
mod resolve;
mod tags;

pub use client::InvalidRegistry;
pub use discover::Discovery;
pub use members::Members;
pub use resolve::Resolved;
pub use tags::TagList;

use client::Client;

/// One registry, as configured.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// The host that clients ask for. A port in it is ignored: clients reach it through a proxy on a port of its own.
    pub host: String,
    /// Where the registry itself listens: scheme, host and port, nothing more.
    pub endpoint: Url,
    /// The authorities that its certificate is checked against; without them, the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// Whether `endpoint` may be `http`.
    pub plain_http: PlainHttp,
}

/// Whether a registry may be asked without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainHttp {
    /// It may not.
    Refuse,
    /// It may: whoever is on the network between can hide signatures and serve other tags.
    DangerAllow,
}

/// The configured registries. Nothing else is ever connected to, and no redirect is followed.
#[derive(Clone, Debug)]
pub struct Registries {
    by_host: Arc<BTreeMap<String, Client>>,
}

impl Registries {
    /// Prepares a client for each registry; no connection is made yet.
    ///
    /// # Errors
    /// [`InvalidRegistry`] if an endpoint or its authorities cannot be used, or two registries share a host.
    pub fn new(configs: impl IntoIterator<Item = RegistryConfig>) -> Result<Self, InvalidRegistry> {
        let mut by_host = BTreeMap::new();
        for config in configs {
            let host = without_port(&config.host).to_owned();
            if by_host.insert(host.clone(), Client::new(config)?).is_some() {
                return Err(InvalidRegistry::DuplicateHost { host });
            }
        }
        Ok(Self {
            by_host: Arc::new(by_host),
        })
    }

    /// True if a registry is configured for this host.
    pub fn serves(&self, host: &str) -> bool {
        self.by_host.contains_key(without_port(host))
    }

    /// What a manifest request with this Accept header is answered with: a digest that can be pinned.
    ///
    /// # Errors
    /// [`ArtifactError`]; a tag or digest that is not there is [`ArtifactError::NotFound`].
    pub async fn resolve(
        &self,
        host: &str,
        repository: &Repository,
        reference: &Reference,
        accept: &[String],
    ) -> Result<Resolved, ArtifactError> {
        self.client(host)?
            .resolve(repository, reference, accept)
            .await
    }

    /// The manifest with this digest; its bytes were hashed.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub async fn manifest(
        &self,
        host: &str,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Arc<Manifest>, ArtifactError> {
        self.client(host)?.manifest(repository, digest).await
    }

    /// The blob with this digest, if it is no longer than `max` bytes; its bytes were hashed.
    ///
    /// # Errors
    /// [`ArtifactError`].
    pub async fn blob(
        &self,
        host: &str,
        repository: &Repository,
        digest: &Digest,
        max: usize,
    ) -> Result<Bytes, ArtifactError> {
        self.client(host)?.blob(repository, digest, max).await
    }

    /// Every digest that belongs to the manifest: itself, and for an index its children, with their configs and layers.
    ///
    /// # Errors
    /// [`ArtifactError`]. A child that the registry does not have belongs by its own digest alone.
    pub async fn members(
        &self,
        host: &str,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Members, ArtifactError> {
        self.client(host)?.members(repository, digest).await
    }

    /// The tags of a repository, page by page, at most [`limits::MAX_TAGS`].
    ///
    /// # Errors
    /// [`ArtifactError`] if there is not even a first page; what else could not be read is in [`TagList::skipped`].
    pub async fn tags(
        &self,
        host: &str,
        repository: &Repository,
    ) -> Result<TagList, ArtifactError> {
        self.client(host)?.tags(repository).await
    }

    /// Every signature of a digest that the registry has, by all three ways of finding them.
    ///
    /// # Errors
    /// Only [`ArtifactError::NotConfigured`]: what could not be read is in [`Discovery::skipped`].
    pub async fn discover(
        &self,
        host: &str,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Discovery, ArtifactError> {
        Ok(discover::discover(self.client(host)?, repository, digest).await)
    }

    fn client(&self, host: &str) -> Result<&Client, ArtifactError> {
        self.by_host
            .get(without_port(host))
            .ok_or_else(|| ArtifactError::NotConfigured {
                host: host.to_owned(),
            })
    }
}

/// `host:port` without the port; the brackets of an IPv6 address stay.
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            name
        }
        Some(_) | None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_part_of_a_host() {
        for (host, name) in [
            ("localhost", "localhost"),
            ("localhost:5000", "localhost"),
            ("[::1]:5000", "[::1]"),
            ("[::1]", "[::1]"),
            ("registry.acme.test:", "registry.acme.test:"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
