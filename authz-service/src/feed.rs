//! The feed's server: what agents say, checked, handed to the snapshot's owner, and answered once it decides.

mod batch;
pub mod own_svid;
mod refused;
mod session;
mod stream;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use countersign_proto::feed::feed_server::{Feed, FeedServer};
use countersign_proto::feed::{PushRequest, PushResponse};
use daemon::Lifecycle;
use daemon::clock::Clock;
use daemon::tls::{Incoming, Peer};
use futures_util::{Stream, stream as streams};
use identity::spiffe_id::SpiffeId;
use policy::pattern::IdentityPattern;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use tracing::{error, warn};

use crate::record::Metrics;
use crate::snapshot::writer::{Commands, Session, Snapshots};

pub use refused::Refused;

use stream::Pushing;

/// An agent of the roster.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its identity.
    pub identity: SpiffeId,
    /// The identities that it may vouch for.
    pub may_vouch_for: Vec<IdentityPattern>,
}

/// The service behind `countersign.feed.v1.Feed`.
#[derive(Debug)]
pub struct FeedService {
    roster: BTreeMap<SpiffeId, Agent>,
    shared: Arc<Shared>,
    sessions: AtomicU64,
}

/// What every stream uses.
#[derive(Debug)]
pub struct Shared {
    /// To the snapshot's owner.
    pub commands: Commands,
    /// What decides now: roots and the policy's hash.
    pub snapshots: Snapshots,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Counts what is refused.
    pub metrics: Metrics,
    /// Ends every stream.
    pub stop: CancellationToken,
}

impl FeedService {
    /// A service for the agents of this roster.
    pub fn new(roster: impl IntoIterator<Item = Agent>, shared: Shared) -> Self {
        let roster = roster
            .into_iter()
            .map(|agent| (agent.identity.clone(), agent))
            .collect();
        Self {
            roster,
            shared: Arc::new(shared),
            sessions: AtomicU64::new(1),
        }
    }

    /// Serves verified connections as a part of the program, until it stops.
    pub fn serve(self, incoming: Incoming, lifecycle: &Lifecycle) {
        let stop = lifecycle.token().cancelled_owned();
        let service = FeedServer::new(self).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let server = Server::builder().add_service(service);
        lifecycle.spawn("feed", async move {
            if let Err(failed) = server.serve_with_incoming_shutdown(incoming, stop).await {
                error!(error = %daemon::chain(&failed), "feed ended");
            }
        });
    }

    fn agent(&self, peer: Option<&SpiffeId>) -> Result<Agent, Status> {
        let peer = peer.ok_or_else(|| Status::unauthenticated("no client certificate"))?;
        self.roster.get(peer).cloned().ok_or_else(|| {
            let refused = Refused::UnknownAgent(peer.clone());
            warn!(agent = %peer, cause = refused.cause(), "feed refused");
            self.shared.metrics.feed_refused(refused.cause());
            refused.status()
        })
    }
}

#[tonic::async_trait]
impl Feed for FeedService {
    type PushStream = Pin<Box<dyn Stream<Item = Result<PushResponse, Status>> + Send>>;

    async fn push(
        &self,
        request: Request<Streaming<PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let agent = self.agent(peer(&request))?;
        let number = Session(self.sessions.fetch_add(1, Ordering::Relaxed));
        let pushing = Pushing::new(
            request.into_inner(),
            agent,
            number,
            Arc::clone(&self.shared),
        );
        let answers = streams::unfold(Some(pushing), |pushing| async {
            let mut pushing = pushing?;
            let answer = pushing.next().await?;
            let rest = answer.is_ok().then_some(pushing);
            Some((answer, rest))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The identity that the peer proved in the handshake.
fn peer<T>(request: &Request<T>) -> Option<&SpiffeId> {
    request.extensions().get::<Peer>().map(Peer::spiffe_id)
}

/// 4 MiB // a batch of the largest size, with its chain.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
