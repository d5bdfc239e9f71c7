//! The other end of the admin socket, for the command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_proto::authz::authz_admin_client::AuthzAdminClient;
use countersign_proto::authz::{DenialsRequest, ExplainRequest, StatusRequest};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tower::service_fn;

use crate::explain::Explanation;
use crate::record::DecisionRecord;

/// A connection to a running service.
#[derive(Debug)]
pub struct AdminClient(AuthzAdminClient<Channel>);

/// Why the service gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody serves the socket, or it may not be opened.
    #[error("no service answers at `{}`", socket.display())]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What failed.
        #[source]
        source: tonic::transport::Error,
    },
    /// The service has no such record.
    #[error("{message}")]
    NotFound {
        /// What it said.
        message: String,
    },
    /// The service refused.
    #[error("the service refused")]
    Refused(#[source] Box<Status>),
    /// The answer cannot be read.
    #[error("the service's answer cannot be read")]
    Answer(#[source] serde_json::Error),
}

/// What a replica holds, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplicaStatus {
    /// Generation of the snapshot that decides.
    pub generation: u64,
    /// Hash of the policy in force.
    pub policy_hash: String,
    /// Bindings held.
    pub bindings: u64,
    /// Whether it is ready.
    pub ready: bool,
    /// What is missing before it is.
    pub missing: Vec<String>,
    /// Every agent of the roster.
    pub agents: Vec<AgentLine>,
}

/// One agent of the roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AgentLine {
    /// Its identity.
    pub identity: String,
    /// Whether it has told all it knows.
    pub synced: bool,
    /// The hash of its policy.
    pub policy_hash: String,
}

impl AdminClient {
    /// Connects to the admin socket.
    ///
    /// # Errors
    /// Nobody serves it.
    pub async fn connect(socket: &Path) -> Result<Self, AdminError> {
        let path = socket.to_owned();
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The name is not looked up: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://admin.socket")
            .timeout(PATIENCE)
            .connect_timeout(PATIENCE);
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|source| AdminError::Unreachable {
                socket: socket.to_owned(),
                source,
            })?;
        Ok(Self(
            AuthzAdminClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES),
        ))
    }

    /// Why a decision was what it was.
    ///
    /// # Errors
    /// No such record, or no answer.
    pub async fn explain(&mut self, id: &str) -> Result<Explanation, AdminError> {
        let request = Request::new(ExplainRequest {
            decision_id: id.to_owned(),
        });
        let answer = self
            .0
            .explain(request)
            .await
            .map_err(AdminError::from_status)?
            .into_inner();
        serde_json::from_str(&answer.explanation_json).map_err(AdminError::Answer)
    }

    /// The newest denials, newest first.
    ///
    /// # Errors
    /// No answer.
    pub async fn denials(&mut self, limit: u32) -> Result<Vec<DecisionRecord>, AdminError> {
        let answer = self
            .0
            .denials(DenialsRequest { limit })
            .await
            .map_err(AdminError::from_status)?
            .into_inner();
        let records = answer
            .record_json
            .iter()
            .map(|json| serde_json::from_str(json).map_err(AdminError::Answer));
        records.collect()
    }

    /// What the replica holds, and what it waits for.
    ///
    /// # Errors
    /// No answer.
    pub async fn status(&mut self) -> Result<ReplicaStatus, AdminError> {
        let answer = self
            .0
            .status(StatusRequest {})
            .await
            .map_err(AdminError::from_status)?
            .into_inner();
        let agents = answer.agents.into_iter().map(|agent| AgentLine {
            identity: agent.identity,
            synced: agent.synced,
            policy_hash: agent.policy_hash,
        });
        Ok(ReplicaStatus {
            generation: answer.generation,
            policy_hash: answer.policy_hash,
            bindings: answer.bindings,
            ready: answer.ready,
            missing: answer.missing,
            agents: agents.collect(),
        })
    }
}

impl AdminError {
    fn from_status(status: Status) -> Self {
        if status.code() == Code::NotFound {
            Self::NotFound {
                message: status.message().to_owned(),
            }
        } else {
            Self::Refused(Box::new(status))
        }
    }
}

/// 10 s // the record file may have to be read through.
const PATIENCE: Duration = Duration::from_secs(10);

/// 64 MiB // a thousand records of some kilobytes, many times over.
const MAX_ANSWER_BYTES: usize = 64 << 20;
