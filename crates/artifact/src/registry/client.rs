//! One registry's HTTP client: bounded answers, no redirects, no proxies.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use evidence::Digest;
use http::{HeaderMap, HeaderValue, StatusCode, header::ACCEPT};
use moka::sync::Cache;
use reqwest::{Certificate, redirect::Policy};
use url::Url;

use super::{
    PlainHttp, RegistryConfig,
    limits::{CONNECT_TIMEOUT, REQUEST_TIMEOUT},
};
use crate::{error::ArtifactError, manifest::Manifest, reference::Repository};

/// A client of one registry.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) endpoint: Url,
    http: reqwest::Client,
    /// Manifests by digest. The bytes were hashed, so an entry can only be missing, never wrong.
    manifests: Cache<(Repository, Digest), CachedManifest>,
}

#[derive(Clone, Debug)]
struct CachedManifest {
    manifest: Arc<Manifest>,
    bytes: u32,
}

/// An answer with status 200.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a configured registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRegistry {
    /// The endpoint is more than scheme, host and port.
    #[error("the endpoint `{endpoint}` must be a scheme, a host and a port, nothing more")]
    Endpoint {
        /// The endpoint.
        endpoint: Url,
    },
    /// The endpoint has no TLS, and nothing says that it may be so.
    #[error("the endpoint `{endpoint}` is not https")]
    PlainHttp {
        /// The endpoint.
        endpoint: Url,
    },
    /// The authorities do not read, or the client cannot be made.
    #[error("the client for `{endpoint}` cannot be made")]
    Client {
        /// The endpoint.
        endpoint: Url,
        /// The library's own error.
        #[source]
        source: reqwest::Error,
    },
    /// Two registries have one host.
    #[error("host `{host}` has two registries")]
    DuplicateHost {
        /// The host.
        host: String,
    },
}

/// Bytes of manifests that are kept for each registry: children of indexes are asked for again and again.
const CACHED_BYTES: u64 = 32 * 1024 * 1024;

impl Client {
    pub(super) fn new(config: RegistryConfig) -> Result<Self, InvalidRegistry> {
        let RegistryConfig {
            host: _,
            endpoint,
            ca_pem,
            plain_http,
        } = config;
        check_endpoint(&endpoint, plain_http)?;
        let http = build(ca_pem.as_deref(), endpoint.scheme()).map_err(|source| {
            InvalidRegistry::Client {
                endpoint: endpoint.clone(),
                source,
            }
        })?;
        let manifests = Cache::builder()
            .max_capacity(CACHED_BYTES)
            .weigher(|_key, cached: &CachedManifest| cached.bytes)
            .build();
        Ok(Self {
            endpoint,
            http,
            manifests,
        })
    }

    /// The URL of a path. `path` is made of checked names only.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        url
    }

    /// Fetches at most `limit` bytes. Only 200 is an answer, and only 404 says that it is not there.
    pub(super) async fn get(
        &self,
        url: Url,
        accept: &[HeaderValue],
        limit: usize,
        what: &str,
    ) -> Result<Answer, ArtifactError> {
        let mut request = self.http.get(url);
        for value in accept {
            request = request.header(ACCEPT, value);
        }
        let response = request
            .send()
            .await
            .map_err(|source| unreachable(what, source))?;
        match response.status() {
            StatusCode::OK => read(response, limit, what).await,
            StatusCode::NOT_FOUND => Err(ArtifactError::NotFound {
                what: what.to_owned(),
            }),
            status => Err(ArtifactError::Answered {
                what: what.to_owned(),
                status: status.as_u16(),
            }),
        }
    }

    /// A manifest that came before.
    pub(super) fn cached(&self, repository: &Repository, digest: &Digest) -> Option<Arc<Manifest>> {
        let key = (repository.clone(), digest.clone());
        self.manifests.get(&key).map(|cached| cached.manifest)
    }

    /// Remembers a manifest whose `bytes` hash to `digest`.
    pub(super) fn cache(
        &self,
        repository: &Repository,
        digest: &Digest,
        manifest: &Arc<Manifest>,
        bytes: &[u8],
    ) {
        let cached = CachedManifest {
            manifest: Arc::clone(manifest),
            bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        self.manifests
            .insert((repository.clone(), digest.clone()), cached);
    }

    /// The blob with this digest.
    pub(super) async fn blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: usize,
    ) -> Result<Bytes, ArtifactError> {
        let what = format!("blob `{repository}@{digest}`");
        let url = self.url(&format!("/v2/{repository}/blobs/{digest}"));
        let answer = self.get(url, &[], limit, &what).await?;
        check_digest(digest, &answer.body, &what)?;
        Ok(answer.body)
    }
}

/// Refuses bytes that are not the ones that were asked for.
pub(super) fn check_digest(wanted: &Digest, bytes: &[u8], what: &str) -> Result<(), ArtifactError> {
    let got = wanted.algorithm().of(bytes);
    if got == *wanted {
        Ok(())
    } else {
        Err(ArtifactError::DigestMismatch {
            what: what.to_owned(),
            got,
        })
    }
}

fn check_endpoint(endpoint: &Url, plain_http: PlainHttp) -> Result<(), InvalidRegistry> {
    let bare = matches!(endpoint.path(), "" | "/")
        && endpoint.query().is_none()
        && endpoint.fragment().is_none()
        && endpoint.username().is_empty()
        && endpoint.password().is_none()
        && endpoint.has_host();
    match (endpoint.scheme(), plain_http) {
        ("https", _) | ("http", PlainHttp::DangerAllow) if bare => Ok(()),
        ("http", PlainHttp::Refuse) => Err(InvalidRegistry::PlainHttp {
            endpoint: endpoint.clone(),
        }),
        (_, PlainHttp::Refuse | PlainHttp::DangerAllow) => Err(InvalidRegistry::Endpoint {
            endpoint: endpoint.clone(),
        }),
    }
}

fn build(ca_pem: Option<&[u8]>, scheme: &str) -> Result<reqwest::Client, reqwest::Error> {
    // The one provider of this workspace; an error means that it is installed already.
    let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT);
    match (ca_pem, scheme) {
        (Some(pem), _) => builder.tls_certs_only(Certificate::from_pem_bundle(pem)?),
        // Without TLS no authority is needed, and the system's are not loaded.
        (None, "http") => builder.tls_certs_only([]),
        (None, _) => builder,
    }
    .build()
}

async fn read(
    mut response: reqwest::Response,
    limit: usize,
    what: &str,
) -> Result<Answer, ArtifactError> {
    let too_large = || ArtifactError::TooLarge {
        what: format!("{what}, in bytes,"),
        limit,
    };
    let announced = response.content_length().unwrap_or(0);
    if usize::try_from(announced).map_or(true, |announced| announced > limit) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|source| unreachable(what, source))?
    {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer {
        headers: std::mem::take(response.headers_mut()),
        body: body.freeze(),
    })
}

fn unreachable(what: &str, source: reqwest::Error) -> ArtifactError {
    // The URL is in `what`, in our words.
    ArtifactError::Unreachable {
        what: what.to_owned(),
        source: Arc::new(source.without_url()),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Registries, *};

    fn made(endpoint: &str, plain_http: PlainHttp) -> Result<Client, InvalidRegistry> {
        let endpoint = Url::parse(endpoint).unwrap();
        Client::new(RegistryConfig {
            host: "h".to_owned(),
            endpoint,
            ca_pem: None,
            plain_http,
        })
    }

    #[test]
    fn plain_http_must_be_allowed_by_name() {
        assert!(matches!(
            made("http://h:1", PlainHttp::Refuse),
            Err(InvalidRegistry::PlainHttp { .. })
        ));
        assert!(made("http://h:1", PlainHttp::DangerAllow).is_ok());
        assert!(made("https://h", PlainHttp::Refuse).is_ok());
    }

    #[test]
    fn an_endpoint_is_nothing_but_scheme_host_and_port() {
        for endpoint in [
            "https://h/v2",
            "https://h?a",
            "https://h#a",
            "https://u@h",
            "https://u:p@h",
            "ftp://h",
            "data:x",
        ] {
            assert!(
                matches!(
                    made(endpoint, PlainHttp::DangerAllow),
                    Err(InvalidRegistry::Endpoint { .. })
                ),
                "{endpoint}"
            );
        }
    }

    #[test]
    fn two_registries_of_one_host_are_refused_whatever_their_ports() {
        let config = |host: &str| RegistryConfig {
            host: host.to_owned(),
            endpoint: Url::parse("https://h").unwrap(),
            ca_pem: None,
            plain_http: PlainHttp::Refuse,
        };
        let made = Registries::new([config("h:1"), config("h:2")]);
        assert!(matches!(made, Err(InvalidRegistry::DuplicateHost { .. })));
    }

    #[test]
    fn authorities_that_do_not_read_are_refused() {
        let endpoint = Url::parse("https://h").unwrap();
        let ca_pem =
            Some(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec());
        let config = RegistryConfig {
            host: "h".to_owned(),
            endpoint,
            ca_pem,
            plain_http: PlainHttp::Refuse,
        };
        assert!(matches!(
            Client::new(config),
            Err(InvalidRegistry::Client { .. })
        ));
    }
}
