//! `agent.sock` without the rest of the agent.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use cert_agent::handout::{
    connection::{self, Door, Limits},
    counter::Counter,
    sds::Sds,
    workload_api::WorkloadApi,
};
use cert_agent::issuer::Issuer as _;
use countersign_proto::workload::spiffe_workload_api_server::SpiffeWorkloadApiServer;
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::SecretDiscoveryServiceServer;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

use crate::agent::Agent;

/// An agent that serves its socket.
pub(super) struct Served {
    pub(super) agent: Agent,
    path: PathBuf,
    _server: JoinSet<()>,
}

impl Served {
    pub(super) fn new(agent: Agent) -> Self {
        let limits = Limits {
            per_uid: 64,
            total: 64,
        };
        Self::with_door(agent, limits, Duration::from_secs(30))
    }

    pub(super) fn with_door(agent: Agent, limits: Limits, patience: Duration) -> Self {
        let path = agent.files.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let attestor = Arc::<crate::agent::FakeAttestor>::clone(&agent.attestor);
        let counter = Counter::new(
            attestor,
            agent.judge.clone(),
            agent.rotation.clone(),
            agent.refusals.clone(),
            agent.issuer.authorities(),
            agent.lifecycle.token(),
        );
        let routes = tonic::service::Routes::new(SpiffeWorkloadApiServer::new(WorkloadApi::new(
            counter.clone(),
        )))
        .add_service(SecretDiscoveryServiceServer::new(Sds::new(counter)));
        let mut server = JoinSet::new();
        let stop = agent.lifecycle.token();
        let door = Door::new(limits, patience, agent.metrics.connections_refused.clone());
        server.spawn(async move {
            connection::serve(routes, listener, door, stop)
                .await
                .unwrap();
        });
        Self {
            agent,
            path,
            _server: server,
        }
    }

    /// With a workload that the caller runs in.
    pub(super) fn with_workload(agent: Agent) -> Self {
        agent.attestor.is(&crate::agent::workload(1));
        Self::new(agent)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn channel(&self) -> Channel {
        let path = self.path.clone();
        let connector = tower::service_fn(move |_address| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://agent")
            .connect_with_connector(connector)
            .await
            .unwrap()
    }
}

/// The next message; the agent looks at its evidence every two seconds.
pub(super) async fn next<T>(
    stream: &mut (impl Stream<Item = Result<T, Status>> + Unpin),
) -> Result<T, Status> {
    timeout(Duration::from_secs(20), stream.next())
        .await
        .expect("a message comes")
        .expect("the stream does not just end")
}
