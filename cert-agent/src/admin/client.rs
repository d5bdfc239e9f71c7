//! The operator's end of the admin socket: asks, and turns answers into rows.

use std::path::Path;

use countersign_proto::agent::{
    ExplainWorkloadRequest, ListWorkloadsRequest, RotateWorkloadRequest, Workload,
    agent_admin_client::AgentAdminClient,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// A connection to an agent.
#[derive(Debug, Clone)]
pub struct Client(AgentAdminClient<Channel>);

/// What an agent says of one workload: what it holds, or why it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The workload's name; empty where a process was never in a scope.
    pub workload: String,
    /// The grant, or the one that nearly matched.
    pub grant: String,
    /// The identity held, or wanted.
    pub spiffe_id: String,
    /// The hash of the key in the SVID.
    pub spki: String,
    /// The SVID's serial.
    pub serial: String,
    /// RFC 3339.
    pub not_after: String,
    /// What it runs.
    pub digests: Vec<String>,
    /// The reason's code; empty where nothing was refused.
    pub reason: String,
    /// The reason for a reader.
    pub detail: String,
    /// What was observed.
    pub selectors: Vec<String>,
    /// RFC 3339: when it began, or was refused.
    pub at: String,
}

impl Client {
    /// Connects to an agent's admin socket.
    ///
    /// # Errors
    /// Nobody answers there.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let path = socket.to_owned();
        let connector = tower::service_fn(move |_address| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://agent.countersign");
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|source| ClientError::Connect {
            socket: socket.display().to_string(),
            source,
        })?;
        Ok(Self(AgentAdminClient::new(channel)))
    }

    /// Every workload, and every refusal that is kept.
    ///
    /// # Errors
    /// The agent refuses.
    pub async fn list(mut self) -> Result<Vec<Row>, ClientError> {
        let answer = self.0.list_workloads(ListWorkloadsRequest {}).await;
        Ok(rows(
            answer
                .map_err(|status| refused(&status))?
                .into_inner()
                .workloads,
        ))
    }

    /// What is known of a workload, a grant, a SPIFFE ID or a program's digest.
    ///
    /// # Errors
    /// The agent refuses.
    pub async fn explain(mut self, subject: String) -> Result<Vec<Row>, ClientError> {
        let request = ExplainWorkloadRequest { subject };
        let answer = self.0.explain_workload(request).await;
        Ok(rows(
            answer
                .map_err(|status| refused(&status))?
                .into_inner()
                .workloads,
        ))
    }

    /// Makes new keys and SVIDs; an empty subject means every workload.
    ///
    /// # Errors
    /// The agent refuses.
    pub async fn rotate(mut self, subject: String) -> Result<Vec<Row>, ClientError> {
        let request = RotateWorkloadRequest { subject };
        let answer = self.0.rotate_workload(request).await;
        Ok(rows(
            answer
                .map_err(|status| refused(&status))?
                .into_inner()
                .workloads,
        ))
    }
}

/// Why an agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("no agent answers at `{socket}`")]
    Connect {
        /// The socket.
        socket: String,
        /// What failed.
        #[source]
        source: tonic::transport::Error,
    },
    /// The agent does not serve this requester.
    #[error("{message}")]
    Refused {
        /// What the agent said.
        message: String,
    },
}

fn refused(status: &Status) -> ClientError {
    ClientError::Refused {
        message: status.message().to_owned(),
    }
}

fn rows(workloads: Vec<Workload>) -> Vec<Row> {
    workloads.into_iter().map(Row::from).collect()
}

impl From<Workload> for Row {
    fn from(workload: Workload) -> Self {
        let Workload {
            workload,
            grant,
            spiffe_id,
            spki,
            serial,
            not_after,
            digests,
            reason,
            detail,
            selectors,
            at,
        } = workload;
        Self {
            workload,
            grant,
            spiffe_id,
            spki,
            serial,
            not_after,
            digests,
            reason,
            detail,
            selectors,
            at,
        }
    }
}
