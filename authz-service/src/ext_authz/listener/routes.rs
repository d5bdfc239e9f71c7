//! Which requests of a connection go where: the Check path, gRPC health, nothing else.

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service as _;

use crate::ext_authz::service::{CheckService, Connection};

/// The services behind every listener.
#[derive(Clone)]
pub(super) struct Routes {
    checks: Arc<CheckService>,
    health: HealthServer<HealthService>,
}

impl Routes {
    pub(super) fn new(checks: Arc<CheckService>, health: HealthReporter) -> Self {
        Self {
            checks,
            health: HealthServer::new(HealthService::from_health_reporter(health)),
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// The request broke off.
    pub(super) async fn answer(
        mut self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Result<Response<Body>, hyper::Error> {
        match request.uri().path() {
            CHECK => self.checks.serve(request, &connection).await,
            path if path.starts_with(HEALTH) => match self.health.call(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            _ => Ok(tonic::Status::unimplemented("no such method").into_http()),
        }
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes")
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}

/// The method that Envoy, Istio and agentgateway call.
const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const HEALTH: &str = "/grpc.health.v1.Health/";
