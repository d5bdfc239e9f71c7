//! What an operator asks of the agent, on a socket that only root may open.

use std::{collections::BTreeSet, pin::Pin, sync::Arc, time::SystemTime};

use countersign_proto::agent::{
    self, ExecRequest, ExecResponse, ExplainWorkloadRequest, ExplainWorkloadResponse,
    ListWorkloadsRequest, ListWorkloadsResponse, RotateWorkloadRequest, RotateWorkloadResponse,
    agent_admin_server::{AgentAdmin, AgentAdminServer},
};
use futures_util::Stream;
use policy::reason::Reason;
use tonic::{Request, Response, Status, Streaming, service::Routes};

use crate::{
    exec::{self, Admission},
    handout::{connection::Caller, svid::Svid},
    refusals::{Kept, Refusals},
    rotation::{Holding, Rotation},
    workload::{Peer, Refused, Scopes, Workload},
};

pub mod client;

/// The service.
#[derive(Clone)]
pub struct Admin {
    /// Where programs are run.
    pub scopes: Scopes,
    /// Which programs may run.
    pub admission: Arc<dyn Admission>,
    /// What workloads hold.
    pub rotation: Rotation,
    /// Who was refused.
    pub refusals: Refusals,
}

impl Admin {
    /// The services of the admin socket.
    ///
    /// # Errors
    /// Our own descriptors do not read.
    pub fn routes(self) -> Result<Routes, tonic_reflection::server::Error> {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(agent::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        Ok(Routes::new(AgentAdminServer::new(self)).add_service(reflection))
    }

    /// The socket's mode keeps others out; this holds when the mode was changed.
    fn requester<T>(&self, request: &Request<T>) -> Result<Peer, Status> {
        let refuse = |detail: String| {
            let refused = Refused::new(Reason::RequesterNotPermitted, detail);
            self.refusals.keep(&refused);
            Status::permission_denied(refused.to_string())
        };
        let caller = request
            .extensions()
            .get::<Caller>()
            .ok_or_else(|| refuse("the connection does not say who asks".to_owned()))?;
        let peer = caller.peer().map_err(|refused| refuse(refused.detail))?;
        if peer.uid() != nix::unistd::geteuid().as_raw() {
            return Err(refuse(format!("uid {} may not ask this", peer.uid())));
        }
        Ok(peer.clone())
    }

    fn workloads(&self) -> Vec<agent::Workload> {
        let mut list: Vec<agent::Workload> = self
            .rotation
            .list()
            .iter()
            .flat_map(|(workload, holding)| rows(workload, holding))
            .collect();
        let known: BTreeSet<String> = list.iter().map(|row| row.workload.clone()).collect();
        let quiet = self
            .scopes
            .workloads()
            .into_iter()
            .filter(|workload| !known.contains(&workload.id));
        list.extend(quiet.flat_map(|workload| rows(&workload, &Holding::Nothing)));
        list.extend(self.refusals.list().iter().map(refusal_row));
        list
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl AgentAdmin for Admin {
    type ExecStream = Pin<Box<dyn Stream<Item = Result<ExecResponse, Status>> + Send>>;

    async fn exec(
        &self,
        request: Request<Streaming<ExecRequest>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        let requester = self.requester(&request)?;
        let responses = exec::server::run(
            self.scopes.clone(),
            Arc::clone(&self.admission),
            requester,
            request.into_inner(),
        );
        Ok(Response::new(responses))
    }

    async fn list_workloads(
        &self,
        request: Request<ListWorkloadsRequest>,
    ) -> Result<Response<ListWorkloadsResponse>, Status> {
        self.requester(&request)?;
        Ok(Response::new(ListWorkloadsResponse {
            workloads: self.workloads(),
        }))
    }

    async fn explain_workload(
        &self,
        request: Request<ExplainWorkloadRequest>,
    ) -> Result<Response<ExplainWorkloadResponse>, Status> {
        self.requester(&request)?;
        let ExplainWorkloadRequest { subject } = request.into_inner();
        let workloads = self
            .workloads()
            .into_iter()
            .filter(|row| is_about(row, &subject))
            .collect();
        Ok(Response::new(ExplainWorkloadResponse { workloads }))
    }

    async fn rotate_workload(
        &self,
        request: Request<RotateWorkloadRequest>,
    ) -> Result<Response<RotateWorkloadResponse>, Status> {
        self.requester(&request)?;
        let RotateWorkloadRequest { subject } = request.into_inner();
        let rotated = self.rotation.rotate(&subject).await;
        let workloads = rotated
            .iter()
            .flat_map(|(workload, holding)| rows(workload, holding))
            .collect();
        Ok(Response::new(RotateWorkloadResponse { workloads }))
    }
}

/// One row for each SVID; one for a workload that holds none.
fn rows(workload: &Workload, holding: &Holding) -> Vec<agent::Workload> {
    match holding {
        Holding::Svids(svids) => svids.iter().map(|svid| svid_row(workload, svid)).collect(),
        Holding::Nothing => vec![bare_row(workload)],
        Holding::Withdrawn(refused) => {
            let reason = refused.reason.code().to_owned();
            vec![agent::Workload {
                reason,
                detail: refused.detail.clone(),
                ..bare_row(workload)
            }]
        }
    }
}

fn bare_row(workload: &Workload) -> agent::Workload {
    agent::Workload {
        workload: workload.id.clone(),
        grant: workload.grant.clone(),
        digests: workload
            .artifacts
            .iter()
            .flat_map(|artifact| &artifact.digests)
            .map(ToString::to_string)
            .collect(),
        selectors: workload.selectors.iter().map(ToString::to_string).collect(),
        at: rfc3339(workload.started),
        ..agent::Workload::default()
    }
}

fn svid_row(workload: &Workload, svid: &Svid) -> agent::Workload {
    let leaf = svid.leaf();
    agent::Workload {
        grant: svid.grant().terms.name.to_string(),
        spiffe_id: leaf.spiffe_id.to_string(),
        spki: leaf.spki.to_string(),
        serial: leaf.serial.clone(),
        not_after: rfc3339(leaf.not_after),
        ..bare_row(workload)
    }
}

fn refusal_row(kept: &Kept) -> agent::Workload {
    let Refused {
        reason,
        detail,
        workload,
        selectors,
        digests,
        grant,
        wanted,
    } = kept.refused.clone();
    agent::Workload {
        workload,
        grant: grant.unwrap_or_default(),
        spiffe_id: wanted.map(|id| id.to_string()).unwrap_or_default(),
        digests: digests.iter().map(ToString::to_string).collect(),
        reason: reason.code().to_owned(),
        detail,
        selectors: selectors.iter().map(ToString::to_string).collect(),
        at: rfc3339(kept.at),
        ..agent::Workload::default()
    }
}

fn is_about(row: &agent::Workload, subject: &str) -> bool {
    row.workload == subject
        || row.grant == subject
        || row.spiffe_id == subject
        || row.digests.iter().any(|digest| digest == subject)
}

fn rfc3339(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time)
        .map(|time| time.to_string())
        .unwrap_or_default()
}
