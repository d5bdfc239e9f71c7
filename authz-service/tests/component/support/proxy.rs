//! Envoy's side: Checks asked over gRPC on the unix socket, and what the answers say.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request as Attributes,
};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest, CheckResponse};
use envoy_types::pb::google::protobuf::value::Kind;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::agent::connector;
use super::pki::{Pki, Svid};

/// A proxy's connection.
#[derive(Clone)]
pub struct Proxy(AuthorizationClient<Channel>);

/// One answer, as a proxy would carry it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// 200 for a permit.
    pub status: u16,
    /// The reason; empty for a permit.
    pub reason: String,
    /// The artifact reason beneath it.
    pub cause: String,
    /// The rule of a permit.
    pub rule: String,
    /// `x-countersign-decision`.
    pub decision: String,
    /// The rewritten path, if any.
    pub path: Option<String>,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    pub certificate: String,
    pub principal: String,
    pub method: &'static str,
    pub host: &'static str,
    pub path: String,
    pub timeout: Duration,
}

impl Ask {
    pub fn new(
        caller: Option<&Svid>,
        method: &'static str,
        host: &'static str,
        path: &str,
    ) -> Self {
        Self {
            certificate: caller.map(Svid::field).unwrap_or_default(),
            principal: caller
                .map(|caller| caller.identity().to_string())
                .unwrap_or_default(),
            method,
            host,
            path: path.to_owned(),
            timeout: Duration::from_secs(5),
        }
    }

    /// A call of payments.
    pub fn charge(caller: Option<&Svid>) -> Self {
        Self::new(caller, "POST", "payments.acme.test", "/v1/charges")
    }

    /// A read under `/v2/`.
    pub fn pull(caller: &Svid, path: &str) -> Self {
        Self::new(Some(caller), "GET", "localhost", path)
    }

    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    fn message(&self) -> CheckRequest {
        let source = Peer {
            principal: self.principal.clone(),
            certificate: self.certificate.clone(),
            ..Peer::default()
        };
        let http = HttpRequest {
            method: self.method.to_owned(),
            host: self.host.to_owned(),
            path: self.path.clone(),
            ..HttpRequest::default()
        };
        let request = Attributes {
            http: Some(http),
            ..Attributes::default()
        };
        let attributes = AttributeContext {
            source: Some(source),
            request: Some(request),
            ..AttributeContext::default()
        };
        CheckRequest {
            attributes: Some(attributes),
        }
    }
}

impl Proxy {
    pub async fn connect(socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connect = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://authz.test")
            .connect_with_connector(connect)
            .await
            .unwrap();
        Self(AuthorizationClient::new(channel))
    }

    /// Over mTLS TCP, as `svid`.
    pub async fn connect_tls(address: SocketAddr, pki: &Pki, svid: &Svid) -> Self {
        let connector = connector(pki, svid);
        let connect = service_fn(move |_| {
            let connector = std::sync::Arc::clone(&connector);
            async move {
                connector
                    .connect(&address.to_string())
                    .await
                    .map(TokioIo::new)
            }
        });
        let channel = Endpoint::from_static("http://authz.test")
            .connect_with_connector(connect)
            .await
            .unwrap();
        Self(AuthorizationClient::new(channel))
    }

    pub async fn ask(&self, ask: &Ask) -> Said {
        said(&self.check(ask.message(), ask.timeout, None).await)
    }

    pub async fn ask_traced(&self, ask: &Ask, traceparent: &'static str) -> Said {
        said(
            &self
                .check(ask.message(), ask.timeout, Some(traceparent))
                .await,
        )
    }

    /// A message without a request in it.
    pub async fn ask_nothing(&self) -> Said {
        said(
            &self
                .check(CheckRequest::default(), Duration::from_secs(5), None)
                .await,
        )
    }

    async fn check(
        &self,
        message: CheckRequest,
        timeout: Duration,
        traceparent: Option<&'static str>,
    ) -> CheckResponse {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        if let Some(traceparent) = traceparent {
            request
                .metadata_mut()
                .insert("traceparent", traceparent.parse().unwrap());
        }
        self.0.clone().check(request).await.unwrap().into_inner()
    }
}

fn said(response: &CheckResponse) -> Said {
    let permits = response.status.as_ref().unwrap().code == 0;
    let (status, headers) = match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => {
            assert!(permits, "an OK with a status that denies");
            (200, &ok.headers)
        }
        HttpResponse::DeniedResponse(denied) => {
            assert!(!permits, "a denial with a status that permits");
            (
                u16::try_from(denied.status.as_ref().unwrap().code).unwrap(),
                &denied.headers,
            )
        }
        HttpResponse::ErrorResponse(_) => panic!("an error response can permit"),
    };
    let header = |name: &str| {
        let mut found = headers.iter().filter_map(|option| option.header.as_ref());
        found
            .find(|header| header.key == name)
            .map(|header| header.value.clone())
    };
    let fact = |name: &str| {
        let value = response
            .dynamic_metadata
            .as_ref()
            .unwrap()
            .fields
            .get(name)?
            .kind
            .clone();
        match value {
            Some(Kind::StringValue(text)) => Some(text),
            other => panic!("{name} is {other:?}"),
        }
    };
    Said {
        status,
        reason: fact("reason").unwrap_or_default(),
        cause: fact("cause").unwrap_or_default(),
        rule: fact("rule").unwrap_or_default(),
        decision: header("x-countersign-decision").unwrap(),
        path: header(":path"),
    }
}
