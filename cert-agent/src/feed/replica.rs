//! The feed to one replica: connects, sends the state and every change, and connects again.

use std::{io, sync::Arc, time::Duration};

use countersign_proto::feed::{PushRequest, PushResponse, feed_client::FeedClient};
use daemon::{
    Backoff, chain,
    clock::Clock,
    tls::{PeerStream, SvidMaterial, TlsConnector, TlsError},
};
use evidence::binding::{FeedItem, SealError};
use hyper_util::rt::TokioIo;
use identity::{
    spiffe_id::SpiffeId,
    x509_svid::{Authority, MAX_INTERMEDIATES},
};
use rustls::pki_types::CertificateDer;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Endpoint};
use tracing::{debug, info, warn};

use super::{
    Change, Feed, OwnSvid, Progress,
    session::{self, Session},
};
use crate::{config::Replica, grants::Grants, issuer::Authorities, metrics::Metrics};

/// One replica, and what it is told.
pub struct ReplicaFeed {
    replica: Replica,
    sources: Sources,
    progress: watch::Sender<Progress>,
}

/// Where the feed learns what to say.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The agent's SPIFFE ID.
    pub node: SpiffeId,
    /// What is told.
    pub feed: Feed,
    /// The agent's own SVID.
    pub own: watch::Receiver<Arc<OwnSvid>>,
    /// The issuer's authorities.
    pub authorities: watch::Receiver<Arc<Authorities>>,
    /// The grants in force, for the policy's hash.
    pub grants: watch::Receiver<Arc<Grants>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Tells one run of the agent from the next.
    pub roster_epoch: u64,
    /// The numbers.
    pub metrics: Metrics,
}

/// Why a stream ended without a failure.
enum End {
    /// Something that the hello or the handshake said is no longer so.
    Renewed,
    /// The agent stops.
    Stopped,
}

impl ReplicaFeed {
    /// Prepares the feed to a replica.
    pub fn new(replica: Replica, sources: Sources) -> Self {
        let progress = sources.feed.add_replica();
        Self {
            replica,
            sources,
            progress,
        }
    }

    /// Feeds the replica until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::new(RETRY, RETRY_CAP);
        while !stop.is_cancelled() {
            match self.stream(&stop, &mut backoff).await {
                Ok(End::Stopped) => return,
                Ok(End::Renewed) => debug!(replica = %self.replica.address, "feed begins anew"),
                Err(failure) => {
                    self.lost(&failure, backoff.failures() == 0);
                    stop.run_until_cancelled(backoff.wait()).await;
                }
            }
        }
    }

    fn lost(&self, failure: &FeedError, first: bool) {
        let was = self.progress.send_replace(Progress::Apart);
        if was != Progress::Apart {
            self.sources.metrics.replicas_synced.add(-1);
        }
        let error = chain(failure);
        if first {
            warn!(replica = %self.replica.address, %error, "a replica is not fed; bindings it has live until their own end");
        } else {
            debug!(replica = %self.replica.address, %error, "a replica is still not fed");
        }
    }

    async fn stream(
        &mut self,
        stop: &CancellationToken,
        backoff: &mut Backoff,
    ) -> Result<End, FeedError> {
        let own = Arc::clone(&self.sources.own.borrow_and_update());
        let authorities = Arc::clone(&self.sources.authorities.borrow_and_update());
        let policy = self
            .sources
            .grants
            .borrow_and_update()
            .policy_hash()
            .to_owned();
        let io = self.connect(&own, &authorities).await?;
        let retiring = io.peer().retiring();

        let mut session = Session::new(self.sources.node.clone());
        let (number, state, changes) = self.sources.feed.state();
        let first =
            self.first_messages(&mut session, &policy, &authorities, (number, state), &own)?;
        let (outbox, requests) = mpsc::channel(first.len().saturating_add(OUTBOX));
        for request in first {
            outbox.try_send(request).map_err(|_full| FeedError::Slow)?;
        }
        let responses = open(io, requests).await?;
        backoff.reset();
        info!(replica = %self.replica.address, change = number, "feed begun");
        let told = Told {
            session,
            own,
            policy,
            outbox,
            responses,
            changes,
        };
        let metrics = self.sources.metrics.clone();
        if told.session.is_caught_up() {
            // No batch, so no answer: the state is empty, and the replica has it.
            reached(&self.progress, number, &metrics);
        }
        tokio::select! { biased;
            () = stop.cancelled() => Ok(End::Stopped),
            () = retiring.cancelled() => Ok(End::Renewed),
            () = self.sources.outdated() => Ok(End::Renewed),
            failure = told.go_on(&self.progress, &metrics) => Err(failure),
        }
    }

    async fn connect(
        &self,
        own: &OwnSvid,
        authorities: &Authorities,
    ) -> Result<PeerStream, FeedError> {
        let material = SvidMaterial::from_key(own.chain.clone(), &own.key)?;
        let connector = TlsConnector::new(
            &material,
            &authorities.bundle,
            self.replica.identity.clone(),
            Arc::clone(&self.sources.clock),
        )?;
        Ok(connector.connect(&self.replica.address).await?)
    }

    /// The hello, the whole state, and its end.
    fn first_messages(
        &self,
        session: &mut Session,
        policy: &str,
        authorities: &Authorities,
        (number, state): (u64, Vec<FeedItem>),
        own: &OwnSvid,
    ) -> Result<Vec<PushRequest>, FeedError> {
        let mut messages = vec![session::hello(
            policy,
            self.sources.roster_epoch,
            self.sources.live(&authorities.intermediates),
        )];
        messages.extend(
            session
                .batches(state, number, own)
                .map_err(|source| FeedError::Seal { source })?,
        );
        messages.push(session::end_of_state());
        Ok(messages)
    }
}

impl Sources {
    /// Those that have not ended, the newest first: a replica refuses a hello with an ended one, or with more than a chain may have.
    fn live(&self, intermediates: &[CertificateDer<'static>]) -> Vec<Vec<u8>> {
        let now = self.clock.now();
        let live = |der: &&CertificateDer<'static>| {
            Authority::parse(der).is_ok_and(|authority| now < authority.not_after)
        };
        let live = intermediates.iter().filter(live).take(MAX_INTERMEDIATES);
        live.map(|der| der.to_vec()).collect()
    }

    /// Resolves when a hello made now would differ from the last.
    async fn outdated(&mut self) {
        let changed = tokio::select! {
            changed = self.own.changed() => changed,
            changed = self.authorities.changed() => changed,
            changed = self.grants.changed() => changed,
        };
        if changed.is_err() {
            // The agent is stopping; its token ends this stream.
            std::future::pending::<()>().await;
        }
    }
}

impl std::fmt::Debug for ReplicaFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplicaFeed")
            .field("replica", &self.replica)
            .finish_non_exhaustive()
    }
}

/// A stream after its first messages.
struct Told {
    session: Session,
    own: Arc<OwnSvid>,
    policy: String,
    outbox: mpsc::Sender<PushRequest>,
    responses: Streaming<PushResponse>,
    changes: broadcast::Receiver<Change>,
}

impl Told {
    /// Sends every change and notes every answer, until something fails.
    async fn go_on(mut self, progress: &watch::Sender<Progress>, metrics: &Metrics) -> FeedError {
        loop {
            let step = tokio::select! {
                response = self.responses.message() => self.on_response(response, progress, metrics),
                change = self.changes.recv() => self.on_change(change).await,
            };
            if let Err(failure) = step {
                return failure;
            }
        }
    }

    fn on_response(
        &mut self,
        response: Result<Option<PushResponse>, Status>,
        progress: &watch::Sender<Progress>,
        metrics: &Metrics,
    ) -> Result<(), FeedError> {
        let PushResponse {
            sequence,
            generation,
            policy_hash,
        } = response
            .map_err(|source| FeedError::Stream { source })?
            .ok_or(FeedError::Ended)?;
        if policy_hash != self.policy {
            debug!(ours = %self.policy, theirs = %policy_hash, "the replica decides by another policy");
        }
        if let Some(change) = self.session.acknowledged(sequence) {
            debug!(change, generation, "swapped in");
            reached(progress, change, metrics);
        }
        Ok(())
    }

    async fn on_change(&mut self, change: Result<Change, RecvError>) -> Result<(), FeedError> {
        let change = match change {
            Ok(change) => change,
            Err(RecvError::Lagged(_)) => return Err(FeedError::Behind),
            Err(RecvError::Closed) => return Err(FeedError::Ended),
        };
        let batches = self
            .session
            .batches(change.items.to_vec(), change.number, &self.own)
            .map_err(|source| FeedError::Seal { source })?;
        for batch in batches {
            let sent = timeout(SEND_DEADLINE, self.outbox.send(batch)).await;
            sent.map_err(|_elapsed| FeedError::Slow)?
                .map_err(|_closed| FeedError::Ended)?;
        }
        Ok(())
    }
}

/// Why a replica is not fed.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the connection cannot be used")]
    Transport {
        #[source]
        source: tonic::transport::Error,
    },
    #[error("the replica ended the stream")]
    Stream {
        #[source]
        source: Status,
    },
    #[error("the stream ended")]
    Ended,
    #[error("a batch cannot be sealed")]
    Seal {
        #[source]
        source: SealError,
    },
    #[error("the replica does not read what it is sent")]
    Slow,
    #[error("the stream fell behind and begins again with the whole state")]
    Behind,
    #[error("the replica did not answer in time")]
    Timeout,
}

fn reached(progress: &watch::Sender<Progress>, change: u64, metrics: &Metrics) {
    if progress.send_replace(Progress::At(change)) == Progress::Apart {
        metrics.replicas_synced.add(1);
    }
}

/// Opens the stream on a connection that is made already: there is no other behind it.
async fn open(
    io: PeerStream,
    requests: mpsc::Receiver<PushRequest>,
) -> Result<Streaming<PushResponse>, FeedError> {
    let mut io = Some(TokioIo::new(io));
    let connector = tower::service_fn(move |_address| {
        let io = io
            .take()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        std::future::ready(io)
    });
    let endpoint = Endpoint::from_static("http://feed.countersign");
    let channel = endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|source| FeedError::Transport { source })?;
    let opened = timeout(
        OPEN_DEADLINE,
        FeedClient::new(channel).push(ReceiverStream::new(requests)),
    )
    .await;
    let response = opened
        .map_err(|_elapsed| FeedError::Timeout)?
        .map_err(|source| FeedError::Stream { source })?;
    Ok(response.into_inner())
}

/// Changes that may wait for a replica to read them.
const OUTBOX: usize = 64;
/// A replica that reads nothing for this long is begun anew.
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// The replica answers a hello at once.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(5);
