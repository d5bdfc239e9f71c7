//! One agent's stream: messages in, each answered once the view that holds it decides.

use std::sync::Arc;

use countersign_proto::feed::{PushRequest, PushResponse};
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _};
use identity::spiffe_id::SpiffeId;
use tokio::sync::oneshot;
use tonic::{Status, Streaming};
use tracing::{debug, info, warn};

use super::refused::Refused;
use super::session::{Event, Session};
use super::{Agent, Shared};
use crate::snapshot::writer::{self, Command, Swapped};

/// One stream of one agent.
pub(super) struct Pushing {
    incoming: Streaming<PushRequest>,
    session: Session,
    agent: SpiffeId,
    number: writer::Session,
    shared: Arc<Shared>,
    /// Batches handed to the owner and not yet answered, in order.
    pending: FuturesOrdered<BoxFuture<'static, Result<PushResponse, Refused>>>,
    incoming_ended: Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Not,
    /// The agent sends no more; what it sent is still answered.
    Incoming,
}

impl Pushing {
    pub(super) fn new(
        incoming: Streaming<PushRequest>,
        agent: Agent,
        number: writer::Session,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            incoming,
            agent: agent.identity.clone(),
            session: Session::new(agent),
            number,
            shared,
            pending: FuturesOrdered::new(),
            incoming_ended: Ended::Not,
        }
    }

    /// The next answer. After an error, and after `None`, there is no other.
    pub(super) async fn next(&mut self) -> Option<Result<PushResponse, Status>> {
        match self.answer().await {
            Ok(answer) => answer.map(Ok),
            Err(refused) => {
                let error = daemon::chain(&refused);
                warn!(agent = %self.agent, cause = refused.cause(), %error, "feed stream ended; what was said before stays");
                self.shared.metrics.feed_refused(refused.cause());
                Some(Err(refused.status()))
            }
        }
    }

    async fn answer(&mut self) -> Result<Option<PushResponse>, Refused> {
        let stop = self.shared.stop.clone();
        loop {
            let may_read = self.incoming_ended == Ended::Not && self.pending.len() < MAX_PENDING;
            if !may_read && self.pending.is_empty() {
                return Ok(None);
            }
            tokio::select! { biased;
                () = stop.cancelled() => return Ok(None),
                Some(answer) = self.pending.next(), if !self.pending.is_empty() => return answer.map(Some),
                message = self.incoming.message(), if may_read => match message {
                    Ok(Some(request)) => self.on_message(request).await?,
                    Ok(None) => self.incoming_ended = Ended::Incoming,
                    Err(status) => return Err(Refused::Broken(status)),
                },
            }
        }
    }

    async fn on_message(&mut self, request: PushRequest) -> Result<(), Refused> {
        let now = self.shared.clock.now();
        let snapshot = self.shared.snapshots.load();
        let bundle = snapshot.trust.bundles.get(self.agent.trust_domain());
        let bundle = bundle.ok_or_else(|| Refused::NoBundle(self.agent.clone()))?;
        let event = self.session.on_message(request, bundle, now)?;
        let (agent, session) = (self.agent.clone(), self.number);
        let command = match event {
            Event::Hello {
                policy_hash,
                intermediates,
            } => {
                self.compare(&policy_hash, snapshot.policy.hash());
                Command::Hello {
                    agent,
                    session,
                    policy_hash,
                    intermediates,
                }
            }
            Event::EndOfState => {
                info!(agent = %self.agent, "agent has told its full state");
                Command::EndOfState { agent, session }
            }
            Event::Batch {
                sequence,
                items,
                dropped,
                intermediates,
            } => {
                self.count_dropped(dropped);
                let (swapped, wait) = oneshot::channel();
                self.pending.push_back(answer(sequence, wait).boxed());
                Command::Batch {
                    agent,
                    session,
                    items,
                    intermediates,
                    swapped,
                }
            }
        };
        self.shared
            .commands
            .send(command)
            .await
            .map_err(|_stopped| Refused::NotHeard)
    }

    fn count_dropped(&self, dropped: usize) {
        if dropped > 0 {
            debug!(agent = %self.agent, dropped, "refusals dropped that the agent may not report");
        }
        for _each in 0..dropped {
            self.shared.metrics.feed_refused(DROPPED_REFUSAL);
        }
    }

    fn compare(&self, theirs: &str, ours: &str) {
        if theirs == ours {
            info!(agent = %self.agent, policy = ours, "agent connected");
        } else {
            warn!(agent = %self.agent, theirs, ours, "agent connected with another policy");
        }
    }
}

async fn answer(
    sequence: u64,
    swapped: oneshot::Receiver<Swapped>,
) -> Result<PushResponse, Refused> {
    let Swapped {
        generation,
        policy_hash,
    } = swapped.await.map_err(|_dropped| Refused::NotHeard)?;
    Ok(PushResponse {
        sequence,
        generation,
        policy_hash,
    })
}

/// 64 batches // an agent that is further ahead waits.
const MAX_PENDING: usize = 64;

/// The cause, as a metric's attribute, of a refusal that was dropped: old, or of an identity that is not the agent's to refuse.
const DROPPED_REFUSAL: &str = "refusal";
