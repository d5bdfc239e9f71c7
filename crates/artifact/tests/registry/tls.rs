//! Registries behind TLS: only the configured authority is believed.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use countersign_artifact::{ArtifactError, PlainHttp, Registries, RegistryConfig, Tag};
use http::Response;
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider};
use rustls_pki_types::PrivateKeyDer;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_rustls::TlsAcceptor;
use url::Url;

use super::fake::{HOST, repository};

/// An authority, and a TLS server with a certificate from it for `localhost`.
struct TlsRegistry {
    authority_pem: String,
    endpoint: Url,
    _server: JoinSet<()>,
}

impl TlsRegistry {
    async fn start() -> Self {
        let (authority_pem, config) = authority();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!(
            "https://localhost:{}",
            listener.local_addr().unwrap().port()
        );
        let mut server = JoinSet::new();
        server.spawn(serve(listener, TlsAcceptor::from(Arc::new(config))));
        Self {
            authority_pem,
            endpoint: Url::parse(&endpoint).unwrap(),
            _server: server,
        }
    }

    async fn tags(&self, ca_pem: &str) -> Result<Vec<Tag>, ArtifactError> {
        let config = RegistryConfig {
            host: HOST.to_owned(),
            endpoint: self.endpoint.clone(),
            ca_pem: Some(ca_pem.as_bytes().to_vec()),
            plain_http: PlainHttp::Refuse,
        };
        Registries::new([config])
            .unwrap()
            .tags(HOST, &repository("a/b"))
            .await
            .map(|listed| listed.tags)
    }
}

fn authority() -> (String, ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);

    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&leaf_key, &issuer)
        .unwrap();
    let private_key = PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], private_key)
        .unwrap();
    (authority.pem(), config)
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let list = || async {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(
                    br#"{"tags":["1.0"]}"#,
                ))))
            };
            let _closed = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(|_request| list()))
                .await;
        });
    }
}

#[tokio::test]
async fn the_configured_authority_is_believed_and_no_other() {
    let registry = TlsRegistry::start().await;
    assert_eq!(
        registry.tags(&registry.authority_pem).await.unwrap(),
        [Tag::parse("1.0").unwrap()]
    );
    let (other, _) = authority();
    assert!(matches!(
        registry.tags(&other).await,
        Err(ArtifactError::Unreachable { .. })
    ));
}
