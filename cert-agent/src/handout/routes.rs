//! What `agent.sock` serves: the Workload API, SDS, health and reflection. The standard's services are not extended.

use countersign_proto::workload::{self, spiffe_workload_api_server::SpiffeWorkloadApiServer};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::{Builder, Error};

use super::{counter::Counter, sds::Sds, workload_api::WorkloadApi};

/// The services of the socket.
///
/// # Errors
/// Our own descriptors do not read.
pub fn routes(counter: Counter, health: HealthServer<impl Health>) -> Result<Routes, Error> {
    let reflection = Builder::configure()
        .register_encoded_file_descriptor_set(workload::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let workload_api = SpiffeWorkloadApiServer::new(WorkloadApi::new(counter.clone()));
    let sds = SecretDiscoveryServiceServer::new(Sds::new(counter));
    Ok(Routes::new(workload_api)
        .add_service(sds)
        .add_service(health)
        .add_service(reflection))
}

/// What gRPC health answers for, beside the server as a whole.
pub const SERVICES: &[&str] = &[
    "SpiffeWorkloadAPI",
    "envoy.service.secret.v3.SecretDiscoveryService",
];
