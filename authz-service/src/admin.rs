//! The admin socket: `explain`, `denials` and `status`, for root and this service's own uid.

pub mod client;

use std::path::PathBuf;
use std::sync::Arc;

use countersign_proto::authz::authz_admin_server::{AuthzAdmin, AuthzAdminServer};
use countersign_proto::authz::{
    AgentStatus, DenialsRequest, DenialsResponse, ExplainRequest, ExplainResponse, StatusRequest,
    StatusResponse,
};
use daemon::{Lifecycle, Readiness};
use nix::unistd::geteuid;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Request, Response, Status};
use tracing::error;

use crate::explain::Explanation;
use crate::record::{DecisionRecord, Recorder, log};
use crate::snapshot::writer::Snapshots;

/// Answers operators.
#[derive(Debug)]
pub struct AdminService {
    /// The newest denials.
    pub recorder: Arc<Recorder>,
    /// Where older records are.
    pub records: PathBuf,
    /// What decides now.
    pub snapshots: Snapshots,
    /// What is missing.
    pub readiness: Readiness,
}

impl AdminService {
    /// Serves the socket as a part of the program, until it stops.
    pub fn serve(self, listener: UnixListener, lifecycle: &Lifecycle) {
        let stop = lifecycle.token();
        let server = Server::builder().add_service(AuthzAdminServer::new(self));
        lifecycle.spawn("admin", async move {
            let incoming = UnixListenerStream::new(listener);
            if let Err(failed) = server
                .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
                .await
            {
                error!(error = %daemon::chain(&failed), "admin socket ended");
            }
        });
    }

    async fn record(&self, id: &str) -> Result<DecisionRecord, Status> {
        if let Some(record) = self.recorder.denial(id) {
            return Ok(DecisionRecord::clone(&record));
        }
        let (recorder, file, wanted) = (
            Arc::clone(&self.recorder),
            self.records.clone(),
            id.to_owned(),
        );
        let found = tokio::task::spawn_blocking(move || {
            recorder.flush();
            log::find(&file, &wanted)
        });
        let line = found
            .await
            .map_err(|ended| Status::internal(ended.to_string()))?
            .map_err(|unreadable| {
                Status::internal(format!("the record file cannot be read: {unreadable}"))
            })?
            .ok_or_else(|| Status::not_found(format!("no record of decision `{id}`")))?;
        serde_json::from_str(&line)
            .map_err(|broken| Status::data_loss(format!("the record cannot be read: {broken}")))
    }
}

#[tonic::async_trait]
impl AuthzAdmin for AdminService {
    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        permitted(&request)?;
        let ExplainRequest { decision_id } = request.into_inner();
        let record = self.record(&decision_id).await?;
        let snapshot = self.snapshots.load();
        let caller = record
            .question
            .as_ref()
            .and_then(|question| question.caller.known());
        let heard = caller
            .map(|caller| snapshot.refusals(&caller.spiffe_id).to_vec())
            .unwrap_or_default();
        let explanation_json = json(&Explanation::of(record, &heard))?;
        Ok(Response::new(ExplainResponse { explanation_json }))
    }

    async fn denials(
        &self,
        request: Request<DenialsRequest>,
    ) -> Result<Response<DenialsResponse>, Status> {
        permitted(&request)?;
        let limit = match usize::try_from(request.into_inner().limit) {
            Ok(0) | Err(_) => DEFAULT_DENIALS,
            Ok(limit) => limit,
        };
        let records = self.recorder.denials(limit);
        let record_json = records
            .iter()
            .map(|record| json(&**record))
            .collect::<Result<_, _>>()?;
        Ok(Response::new(DenialsResponse { record_json }))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        permitted(&request)?;
        let snapshot = self.snapshots.load();
        let roster = self.snapshots.roster();
        let agents = roster.iter().map(|agent| AgentStatus {
            identity: agent.identity.to_string(),
            synced: agent.synced,
            policy_hash: agent.policy_hash.clone(),
        });
        Ok(Response::new(StatusResponse {
            generation: snapshot.generation,
            policy_hash: snapshot.policy.hash().to_owned(),
            bindings: u64::try_from(snapshot.bindings.len()).unwrap_or(u64::MAX),
            ready: self.readiness.is_ready(),
            missing: self
                .readiness
                .missing()
                .iter()
                .map(ToString::to_string)
                .collect(),
            agents: agents.collect(),
        }))
    }
}

/// The socket's mode keeps others out; the kernel's word on the peer is asked as well.
fn permitted<T>(request: &Request<T>) -> Result<(), Status> {
    let peer = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    match peer {
        Some(peer) if peer.uid() == 0 || peer.uid() == geteuid().as_raw() => Ok(()),
        Some(peer) => Err(Status::permission_denied(format!(
            "uid {} may not use the admin socket",
            peer.uid()
        ))),
        None => Err(Status::permission_denied("the peer's uid is not known")),
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, Status> {
    serde_json::to_string(value)
        .map_err(|broken| Status::internal(format!("the answer cannot be written: {broken}")))
}

/// 50 denials // a screenful.
const DEFAULT_DENIALS: usize = 50;
