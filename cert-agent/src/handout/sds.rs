//! Envoy's secret discovery service, state of the world.

mod secret;
pub mod state;

use std::{collections::BTreeMap, pin::Pin};

use envoy_types::pb::{
    envoy::service::{
        discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
        secret::v3::secret_discovery_service_server::SecretDiscoveryService,
    },
    google::protobuf::Any,
};
use evidence::binding::Handout;
use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use self::state::{Meaning, Subscription};
use super::{
    connection::Caller,
    counter::{Counter, Portion, Visit},
};

/// The service.
#[derive(Debug, Clone)]
pub struct Sds {
    counter: Counter,
}

impl Sds {
    /// Serves at this counter.
    pub fn new(counter: Counter) -> Self {
        Self { counter }
    }
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type DeltaSecretsStream = ResponseStream<DeltaDiscoveryResponse>;
    type StreamSecretsStream = ResponseStream<DiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        let visit = self
            .counter
            .serve(request.extensions().get::<Caller>(), Handout::Sds)
            .await?;
        let served = SecretStream {
            visit,
            requests: request.into_inner(),
            subscription: Subscription::default(),
        };
        Ok(Response::new(served.into_responses()))
    }

    async fn delta_secrets(
        &self,
        _request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented(
            "incremental SDS is not served; use `api_type: GRPC`",
        ))
    }

    async fn fetch_secrets(
        &self,
        _request: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("secrets are served by stream"))
    }
}

/// One stream of one proxy.
struct SecretStream {
    visit: Visit,
    requests: Streaming<DiscoveryRequest>,
    subscription: Subscription,
}

/// What woke a stream.
enum Woken {
    Asked(Box<Option<Result<DiscoveryRequest, Status>>>),
    Changed(Result<(), Status>),
}

impl SecretStream {
    fn into_responses(self) -> ResponseStream<DiscoveryResponse> {
        Box::pin(stream::unfold(Some(self), |served| async {
            let mut served = served?;
            match served.next().await {
                Ok(Some(response)) => Some((Ok(response), Some(served))),
                Ok(None) => None,
                Err(status) => Some((Err(status), None)),
            }
        }))
    }

    /// Waits for the next response; none means that the proxy has left.
    async fn next(&mut self) -> Result<Option<DiscoveryResponse>, Status> {
        loop {
            let woken = tokio::select! { biased;
                changed = self.visit.changed() => Woken::Changed(changed),
                request = self.requests.next() => Woken::Asked(Box::new(request)),
            };
            let response = match woken {
                Woken::Changed(changed) => self.on_change(changed).await?,
                Woken::Asked(request) => match *request {
                    Some(request) => self.on_request(request?).await?,
                    None => return Ok(None),
                },
            };
            if response.is_some() {
                return Ok(response);
            }
        }
    }

    async fn on_change(
        &mut self,
        changed: Result<(), Status>,
    ) -> Result<Option<DiscoveryResponse>, Status> {
        changed?;
        let portion = self.visit.portion().await?;
        let secrets = self.secrets(&portion)?;
        Ok(if self.subscription.differs(&versions(&secrets)) {
            Some(self.respond(secrets))
        } else {
            None
        })
    }

    async fn on_request(
        &mut self,
        request: DiscoveryRequest,
    ) -> Result<Option<DiscoveryResponse>, Status> {
        let meaning = self
            .subscription
            .request(facts(request))
            .map_err(|invalid| Status::invalid_argument(invalid.to_string()))?;
        match meaning {
            Meaning::Asked => {
                let portion = self.visit.portion().await?;
                let secrets = self.secrets(&portion)?;
                Ok(Some(self.respond(secrets)))
            }
            Meaning::Rejected(detail) => {
                let proxy = self.subscription.node().unwrap_or_default();
                warn!(workload = %self.visit.workload().id, %proxy, %detail, "the proxy refused a secret and keeps the one before");
                Ok(None)
            }
            Meaning::Taken | Meaning::Stale => Ok(None),
        }
    }

    /// Makes the secrets asked for. A name that is not this workload's does not hold back the others; only such names end the stream.
    fn secrets(&self, portion: &Portion) -> Result<BTreeMap<String, secret::Versioned>, Status> {
        let names = self.subscription.names();
        let secrets: BTreeMap<_, _> = names
            .iter()
            .filter_map(|name| secret::named(name, portion).map(|secret| (name.clone(), secret)))
            .collect();
        if secrets.is_empty() && !names.is_empty() {
            return Err(Status::permission_denied(
                "grant-none-matched: none of the secrets asked for is this workload's",
            ));
        }
        for name in names.iter().filter(|name| !secrets.contains_key(*name)) {
            debug!(workload = %self.visit.workload().id, %name, "a secret asked for is not this workload's");
        }
        Ok(secrets)
    }

    fn respond(&mut self, secrets: BTreeMap<String, secret::Versioned>) -> DiscoveryResponse {
        let response = self.subscription.respond(versions(&secrets));
        let resources = secrets
            .into_values()
            .map(|secret| Any {
                type_url: state::TYPE_URL.to_owned(),
                value: secret.encoded,
            })
            .collect();
        DiscoveryResponse {
            version_info: response.version,
            resources,
            type_url: state::TYPE_URL.to_owned(),
            nonce: response.nonce,
            ..DiscoveryResponse::default()
        }
    }
}

fn versions(secrets: &BTreeMap<String, secret::Versioned>) -> BTreeMap<String, String> {
    secrets
        .iter()
        .map(|(name, secret)| (name.clone(), secret.version.clone()))
        .collect()
}

fn facts(request: DiscoveryRequest) -> state::Request {
    state::Request {
        type_url: request.type_url,
        names: request.resource_names,
        nonce: request.response_nonce,
        rejection: request.error_detail.map(|status| status.message),
        node: request.node.map(|node| node.id),
    }
}
