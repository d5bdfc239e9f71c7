#![expect(clippy::wildcard_enum_match_arm, reason = "test code")]

use envoy_types::pb::{
    envoy::{
        config::core::v3::{Node, data_source::Specifier},
        extensions::transport_sockets::tls::v3::{Secret, SpiffeCertValidatorConfig, secret::Type},
        service::{
            discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse},
            secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient,
        },
    },
    google::rpc::Status as RpcStatus,
};
use futures_util::FutureExt as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status, Streaming};

use super::socket::{Served, next};
use crate::agent::Agent;

const TYPE_URL: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// One stream, as Envoy opens one.
struct Proxy {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Proxy {
    async fn ask(served: &Served, names: &[&str]) -> Result<Self, Status> {
        let (requests, queued) = mpsc::channel(8);
        requests.send(asking(names)).await.unwrap();
        let mut client = SecretDiscoveryServiceClient::new(served.channel().await);
        let responses = client
            .stream_secrets(ReceiverStream::new(queued))
            .await?
            .into_inner();
        Ok(Self {
            requests,
            responses,
        })
    }

    async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        next(&mut self.responses).await
    }

    async fn take(&self, response: &DiscoveryResponse, names: &[&str]) {
        let taken = DiscoveryRequest {
            version_info: response.version_info.clone(),
            response_nonce: response.nonce.clone(),
            ..asking(names)
        };
        // SPEC(xDS): Envoy may be told to name itself on the first request only.
        self.requests
            .send(DiscoveryRequest {
                node: None,
                ..taken
            })
            .await
            .unwrap();
    }

    async fn refuse(&self, response: &DiscoveryResponse, names: &[&str]) {
        let error_detail = Some(RpcStatus {
            message: "KEY_VALUES_MISMATCH".to_owned(),
            ..RpcStatus::default()
        });
        let refused = DiscoveryRequest {
            response_nonce: response.nonce.clone(),
            error_detail,
            ..asking(names)
        };
        self.requests.send(refused).await.unwrap();
    }

    /// Says whether nothing has come, after everything that was sent before was read: the stream itself is asked for more and answers.
    async fn is_silent(&mut self, names: &[&str], last: &DiscoveryResponse, also: &str) -> bool {
        let mut more: Vec<&str> = names.to_vec();
        more.push(also);
        self.take(last, &more).await;
        let answer = self.next().await.unwrap();
        answer.resources.len() == more.len() && self.responses.next().now_or_never().is_none()
    }
}

fn asking(names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(Node {
            id: "edge-1".to_owned(),
            ..Node::default()
        }),
        type_url: TYPE_URL.to_owned(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    }
}

fn secrets(response: &DiscoveryResponse) -> Vec<Secret> {
    response
        .resources
        .iter()
        .map(|any| Secret::decode(any.value.as_slice()).unwrap())
        .collect()
}

fn pem(source: Option<envoy_types::pb::envoy::config::core::v3::DataSource>) -> String {
    match source.unwrap().specifier.unwrap() {
        Specifier::InlineBytes(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn served() -> Served {
    let agent = Agent::new();
    agent.sign("payments");
    Served::with_workload(agent)
}

#[tokio::test]
async fn certificate_comes_under_the_default_name_and_under_its_spiffe_id() {
    let served = served();
    for name in ["default", "spiffe://acme.test/ns/pay/sa/payments"] {
        let response = Proxy::ask(&served, &[name])
            .await
            .unwrap()
            .next()
            .await
            .unwrap();
        assert_eq!(response.type_url, TYPE_URL);
        let [secret] = secrets(&response).try_into().unwrap();
        assert_eq!(
            secret.name, name,
            "a secret has the name that was asked for"
        );
        let Some(Type::TlsCertificate(certificate)) = secret.r#type else {
            panic!("a certificate")
        };
        assert_eq!(
            pem(certificate.certificate_chain)
                .matches("BEGIN CERTIFICATE")
                .count(),
            2
        );
        assert!(pem(certificate.private_key).starts_with("-----BEGIN PRIVATE KEY-----"));
    }
}

#[tokio::test]
async fn roots_come_in_both_forms() {
    let served = served();
    for name in ["ROOTCA", "spiffe://acme.test"] {
        let response = Proxy::ask(&served, &[name])
            .await
            .unwrap()
            .next()
            .await
            .unwrap();
        let [secret] = secrets(&response).try_into().unwrap();
        let Some(Type::ValidationContext(context)) = secret.r#type else {
            panic!("a validation context")
        };
        assert_eq!(
            pem(context.trusted_ca).matches("BEGIN CERTIFICATE").count(),
            1
        );
    }
    let response = Proxy::ask(&served, &["ALL"])
        .await
        .unwrap()
        .next()
        .await
        .unwrap();
    let [secret] = secrets(&response).try_into().unwrap();
    let Some(Type::ValidationContext(context)) = secret.r#type else {
        panic!("a validation context")
    };
    let validator = context.custom_validator_config.unwrap();
    assert_eq!(validator.name, "envoy.tls.cert_validator.spiffe");
    let config =
        SpiffeCertValidatorConfig::decode(validator.typed_config.unwrap().value.as_slice())
            .unwrap();
    let [trust_domain] = config.trust_domains.as_slice() else {
        panic!("one trust domain")
    };
    assert_eq!(trust_domain.name, "acme.test");
}

#[tokio::test]
async fn several_names_on_one_stream_are_all_answered() {
    let names = ["default", "ROOTCA", "ALL", "spiffe://acme.test"];
    let response = Proxy::ask(&served(), &names)
        .await
        .unwrap()
        .next()
        .await
        .unwrap();
    let mut got: Vec<String> = secrets(&response)
        .into_iter()
        .map(|secret| secret.name)
        .collect();
    got.sort();
    assert_eq!(got, ["ALL", "ROOTCA", "default", "spiffe://acme.test"]);
}

#[tokio::test]
async fn rotation_pushes_the_certificate_and_leaves_the_roots_silent() {
    let served = served();
    let mut certificate = Proxy::ask(&served, &["default"]).await.unwrap();
    let mut roots = Proxy::ask(&served, &["ROOTCA"]).await.unwrap();
    let first = certificate.next().await.unwrap();
    certificate.take(&first, &["default"]).await;
    let root = roots.next().await.unwrap();
    served.agent.rotation.rotate("").await;
    let second = certificate.next().await.unwrap();
    assert_ne!(second.version_info, first.version_info);
    assert_ne!(second.nonce, first.nonce);
    assert!(roots.is_silent(&["ROOTCA"], &root, "ALL").await);
}

#[tokio::test]
async fn refused_push_is_not_repeated_and_the_next_one_comes() {
    let served = served();
    let mut proxy = Proxy::ask(&served, &["default"]).await.unwrap();
    let first = proxy.next().await.unwrap();
    proxy.refuse(&first, &["default"]).await;
    assert!(proxy.is_silent(&["default"], &first, "ROOTCA").await);
    served.agent.rotation.rotate("").await;
    assert_ne!(proxy.next().await.unwrap().version_info, first.version_info);
}

#[tokio::test]
async fn name_of_somebody_else_ends_the_stream_and_beside_an_own_one_does_not() {
    let served = served();
    let other = "spiffe://acme.test/ns/web/sa/frontend";
    let status = Proxy::ask(&served, &[other])
        .await
        .unwrap()
        .next()
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let response = Proxy::ask(&served, &[other, "default"])
        .await
        .unwrap()
        .next()
        .await
        .unwrap();
    assert_eq!(response.resources.len(), 1);
}

#[tokio::test]
async fn proxy_without_an_identity_is_denied_with_the_reason_first() {
    let served = Served::with_workload(Agent::new());
    let status = match Proxy::ask(&served, &["default"]).await {
        Err(status) => status,
        Ok(mut proxy) => proxy.next().await.unwrap_err(),
    };
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(
        status.message().starts_with("artifact-unsigned"),
        "{}",
        status.message()
    );
}

#[tokio::test]
async fn stream_ends_when_the_evidence_is_gone() {
    let served = served();
    let mut proxy = Proxy::ask(&served, &["default"]).await.unwrap();
    proxy.next().await.unwrap();
    served.agent.unsign();
    assert!(
        proxy
            .next()
            .await
            .unwrap_err()
            .message()
            .starts_with("artifact-unsigned")
    );
}

#[tokio::test]
async fn other_resources_are_refused() {
    let served = served();
    let (requests, queued) = mpsc::channel(1);
    requests
        .send(DiscoveryRequest {
            type_url: "type.googleapis.com/x".to_owned(),
            ..asking(&["default"])
        })
        .await
        .unwrap();
    let mut client = SecretDiscoveryServiceClient::new(served.channel().await);
    let mut responses = client
        .stream_secrets(ReceiverStream::new(queued))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        next(&mut responses).await.unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn incremental_and_unary_sds_are_not_served() {
    let served = served();
    let mut client = SecretDiscoveryServiceClient::new(served.channel().await);
    assert_eq!(
        client
            .fetch_secrets(asking(&["default"]))
            .await
            .unwrap_err()
            .code(),
        Code::Unimplemented
    );
    let delta = tokio_stream::iter([DeltaDiscoveryRequest::default()]);
    assert_eq!(
        client.delta_secrets(delta).await.unwrap_err().code(),
        Code::Unimplemented
    );
}
