//! One open stream to a replica, after its first messages: changes go out, answers come in.

use std::{io, sync::Arc, time::Duration};

use countersign_proto::feed::{PushRequest, PushResponse, feed_client::FeedClient};
use daemon::tls::{PeerStream, TlsError};
use evidence::binding::SealError;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Endpoint};
use tracing::debug;

use super::{Change, OwnSvid, Progress, session::Session};
use crate::metrics::Metrics;

/// A stream after its first messages.
pub(super) struct Told {
    pub(super) session: Session,
    pub(super) own: Arc<OwnSvid>,
    pub(super) policy: String,
    pub(super) outbox: mpsc::Sender<PushRequest>,
    pub(super) responses: Streaming<PushResponse>,
    pub(super) changes: broadcast::Receiver<Change>,
}

impl Told {
    /// Sends every change and notes every answer, until something fails.
    pub(super) async fn go_on(
        mut self,
        progress: &watch::Sender<Progress>,
        metrics: &Metrics,
    ) -> FeedError {
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

/// Opens the stream on a connection that is made already: there is no other behind it.
pub(super) async fn open(
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

pub(super) fn reached(progress: &watch::Sender<Progress>, change: u64, metrics: &Metrics) {
    if progress.send_replace(Progress::At(change)) == Progress::Apart {
        metrics.replicas_synced.add(1);
    }
}

/// Why a replica is not fed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
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

/// A replica that reads nothing for this long is begun anew.
const SEND_DEADLINE: Duration = Duration::from_secs(5);
/// The replica answers a hello at once.
const OPEN_DEADLINE: Duration = Duration::from_secs(5);
