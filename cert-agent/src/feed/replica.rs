//! The feed to one replica: connects, sends the state and every change, and connects again.

use std::{sync::Arc, time::Duration};

use countersign_proto::feed::PushRequest;
use daemon::{
    Backoff, chain,
    clock::Clock,
    tls::{PeerStream, SvidMaterial, TlsConnector},
};
use evidence::binding::FeedItem;
use identity::{
    spiffe_id::SpiffeId,
    x509_svid::{Authority, MAX_INTERMEDIATES},
};
use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Feed, OwnSvid, Progress,
    session::{self, Session},
    stream::{self, FeedError, Told},
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

        let mut session = Session::new(
            self.sources.node.clone(),
            self.sources.metrics.feed_dropped.clone(),
        );
        let (number, state, changes) = self.sources.feed.state();
        let first =
            self.first_messages(&mut session, &policy, &authorities, (number, state), &own)?;
        let (outbox, requests) = mpsc::channel(first.len().saturating_add(OUTBOX));
        for request in first {
            outbox.try_send(request).map_err(|_full| FeedError::Slow)?;
        }
        let responses = stream::open(io, requests).await?;
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
            stream::reached(&self.progress, number, &metrics);
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

/// Changes that may wait for a replica to read them.
const OUTBOX: usize = 64;
const RETRY: Duration = Duration::from_millis(200);
const RETRY_CAP: Duration = Duration::from_secs(5);
