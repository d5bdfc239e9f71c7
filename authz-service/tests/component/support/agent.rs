//! The feed as a cert-agent speaks it, or as somebody speaks it who is none.

use std::sync::Arc;
use std::time::Duration;

use countersign_proto::feed::feed_client::FeedClient;
use countersign_proto::feed::push_request::Message;
use countersign_proto::feed::{EndOfState, Hello, PushRequest, PushResponse, SignedBatch};
use daemon::SystemClock;
use daemon::tls::{SvidMaterial, TlsConnector};
use evidence::Digest;
use evidence::binding::{Batch, Binding, BoundArtifact, FeedItem, Handout, Role};
use hyper_util::rt::TokioIo;
use identity::PrivateKey;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};
use tower::service_fn;

use super::now;
use super::pki::{AUTHZ, Pki, Svid, id};

/// One stream of the feed.
pub struct Stream {
    sender: mpsc::Sender<PushRequest>,
    answers: Streaming<PushResponse>,
    node: String,
    chain: Vec<Vec<u8>>,
    sequence: u64,
}

/// Connects to the service under test, as `svid`.
pub fn connector(pki: &Pki, svid: &Svid) -> Arc<TlsConnector> {
    let material = SvidMaterial::from_key(svid.chain(), &svid.key).unwrap();
    let clock = SystemClock::shared();
    Arc::new(TlsConnector::new(&material, &pki.bundle(), id(AUTHZ), clock).unwrap())
}

/// Opens a stream in the name of `svid`.
pub async fn connect(
    address: std::net::SocketAddr,
    pki: &Pki,
    svid: &Svid,
) -> Result<Stream, Status> {
    let connector = connector(pki, svid);
    let connect = service_fn(move |_| {
        let connector = Arc::clone(&connector);
        async move {
            connector
                .connect(&address.to_string())
                .await
                .map(TokioIo::new)
        }
    });
    let channel = Endpoint::from_static("http://feed.test")
        .connect_with_connector(connect)
        .await
        .map_err(|error| Status::unavailable(daemon::chain(&error)))?;
    let (sender, requests) = mpsc::channel(16);
    let answers = FeedClient::new(channel)
        .push(ReceiverStream::new(requests))
        .await?
        .into_inner();
    let chain = svid
        .chain()
        .iter()
        .map(|certificate| certificate.to_vec())
        .collect();
    Ok(Stream {
        sender,
        answers,
        node: svid.identity().to_string(),
        chain,
        sequence: 0,
    })
}

impl Stream {
    pub async fn hello(&mut self, policy_hash: &str, pki: &Pki) {
        let intermediates = vec![pki.intermediate.to_vec()];
        let hello = Hello {
            policy_hash: policy_hash.to_owned(),
            roster_epoch: 1,
            intermediates,
        };
        self.say(Message::Hello(hello)).await;
    }

    pub async fn end_of_state(&mut self) {
        self.say(Message::EndOfState(EndOfState {})).await;
    }

    /// Says the items, signed with `key`, and returns the answer.
    pub async fn batch(
        &mut self,
        items: Vec<FeedItem>,
        key: &PrivateKey,
    ) -> Result<PushResponse, Status> {
        self.sequence += 1;
        self.numbered(self.sequence, items, key).await
    }

    /// As `batch`, with a number of the caller's choice.
    pub async fn numbered(
        &mut self,
        sequence: u64,
        items: Vec<FeedItem>,
        key: &PrivateKey,
    ) -> Result<PushResponse, Status> {
        let batch = Batch {
            node: id(&self.node),
            sequence,
            items,
        };
        let envelope = batch.seal(key).unwrap();
        self.say(Message::Batch(SignedBatch {
            envelope,
            chain: self.chain.clone(),
        }))
        .await;
        self.answer().await
    }

    /// Sends along another chain from now on.
    pub fn with_chain(&mut self, svid: &Svid) {
        self.chain = svid
            .chain()
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect();
    }

    /// Speaks for another node from now on.
    pub fn with_node(&mut self, node: &str) {
        node.clone_into(&mut self.node);
    }

    pub async fn answer(&mut self) -> Result<PushResponse, Status> {
        let answer = tokio::time::timeout(Duration::from_secs(10), self.answers.message())
            .await
            .unwrap();
        answer.and_then(|answer| answer.ok_or_else(|| Status::cancelled("the stream ended")))
    }

    pub async fn say(&mut self, message: Message) {
        // A stream that was refused no longer listens.
        drop(
            self.sender
                .send(PushRequest {
                    message: Some(message),
                })
                .await,
        );
    }
}

/// A binding of the workload that holds `svid` and runs `digest`.
pub fn binding(svid: &Svid, node: &str, digest: &Digest) -> Binding {
    Binding {
        spiffe_id: svid.identity(),
        spki: svid.spki(),
        node: id(node),
        workload: "frontend-1".to_owned(),
        grant: "frontend".to_owned(),
        artifacts: vec![BoundArtifact {
            role: Role::App,
            digests: vec![digest.clone()],
        }],
        handout: Handout::Api,
        not_before: now() - Duration::from_mins(1),
        not_after: now() + Duration::from_mins(30),
    }
}
