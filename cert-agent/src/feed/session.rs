//! One stream to one replica: what is said, in which order, and what the replica has taken.

use std::collections::VecDeque;

use countersign_proto::feed::{EndOfState, Hello, PushRequest, SignedBatch, push_request::Message};
use daemon::{chain, metrics::Counter};
use evidence::binding::{Batch, FeedItem, MAX_ITEMS, SealError};
use identity::spiffe_id::SpiffeId;
use tracing::warn;

use super::OwnSvid;

/// The numbering of one stream.
#[derive(Debug)]
pub(super) struct Session {
    node: SpiffeId,
    sequence: u64,
    /// Batches that are not acknowledged yet, with the change that each completes.
    waiting: VecDeque<(u64, u64)>,
    /// Items that no batch can hold.
    dropped: Counter,
}

impl Session {
    /// Begins a stream of this agent.
    pub(super) fn new(node: SpiffeId, dropped: Counter) -> Self {
        Self {
            node,
            sequence: 0,
            waiting: VecDeque::new(),
            dropped,
        }
    }

    /// Seals the items of one change, in as many batches as a receiver opens. An item that none can hold is left out: it must not cost the node its feed.
    ///
    /// # Errors
    /// The key does not sign.
    pub(super) fn batches(
        &mut self,
        items: Vec<FeedItem>,
        change: u64,
        own: &OwnSvid,
    ) -> Result<Vec<PushRequest>, SealError> {
        let chain: Vec<_> = own
            .chain
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect();
        let with_chain = |envelope| {
            let chain = chain.clone();
            request(Message::Batch(SignedBatch { envelope, chain }))
        };
        let envelopes = self.sealed(items, change, |batch| batch.seal(&own.key))?;
        Ok(envelopes.into_iter().map(with_chain).collect())
    }

    /// Notes what the replica decides by now, and returns the last change that it has whole.
    pub(super) fn acknowledged(&mut self, sequence: u64) -> Option<u64> {
        let mut reached = None;
        while let Some((_, change)) = self
            .waiting
            .front()
            .filter(|(sent, _)| *sent <= sequence)
            .copied()
        {
            self.waiting.pop_front();
            // A change that went out in several batches is whole with its last.
            if self.waiting.front().is_none_or(|(_, next)| *next != change) {
                reached = Some(change);
            }
        }
        reached
    }

    /// Says whether everything sent is acknowledged.
    pub(super) fn is_caught_up(&self) -> bool {
        self.waiting.is_empty()
    }

    fn sealed(
        &mut self,
        items: Vec<FeedItem>,
        change: u64,
        seal: impl Fn(&Batch) -> Result<Vec<u8>, SealError>,
    ) -> Result<Vec<Vec<u8>>, SealError> {
        let mut envelopes = Vec::new();
        let mut rest: VecDeque<_> = split(items.into_iter().flat_map(pieces)).into();
        while let Some(items) = rest.pop_front() {
            match self.batch(items, change, &seal) {
                Ok(envelope) => envelopes.push(envelope),
                Err((source @ SealError::Key { .. }, _items)) => return Err(source),
                Err((error, mut items)) if items.len() > 1 => {
                    // One of them is to blame: the halves find it.
                    tracing::debug!(error = %chain(&error), items = items.len(), "a batch is halved");
                    let half = items.split_off(items.len() / 2);
                    rest.push_front(half);
                    rest.push_front(items);
                }
                Err((error, items)) => {
                    let kind = items.first().map(kind);
                    warn!(kind, error = %chain(&error), "no batch can hold an item; it is not fed");
                    self.dropped.increment();
                }
            }
        }
        Ok(envelopes)
    }

    /// Gives the items back when they cannot be sealed.
    fn batch(
        &mut self,
        items: Vec<FeedItem>,
        change: u64,
        seal: impl Fn(&Batch) -> Result<Vec<u8>, SealError>,
    ) -> Result<Vec<u8>, (SealError, Vec<FeedItem>)> {
        let sequence = self.sequence.saturating_add(1);
        let batch = Batch {
            node: self.node.clone(),
            sequence,
            items,
        };
        let envelope = match seal(&batch) {
            Ok(envelope) => envelope,
            Err(error) => return Err((error, batch.items)),
        };
        self.sequence = sequence;
        self.waiting.push_back((sequence, change));
        Ok(envelope)
    }
}

/// The first message of a stream.
pub(super) fn hello(
    policy_hash: &str,
    roster_epoch: u64,
    intermediates: Vec<Vec<u8>>,
) -> PushRequest {
    request(Message::Hello(Hello {
        policy_hash: policy_hash.to_owned(),
        roster_epoch,
        intermediates,
    }))
}

/// Says that everything known was sent.
pub(super) fn end_of_state() -> PushRequest {
    request(Message::EndOfState(EndOfState {}))
}

fn request(message: Message) -> PushRequest {
    PushRequest {
        message: Some(message),
    }
}

/// Evidence about one digest may be more than a batch holds; a receiver adds several items of one digest together.
fn pieces(item: FeedItem) -> Vec<FeedItem> {
    match item {
        FeedItem::Evidence { digest, evidence } if evidence.len() > 1 => evidence
            .into_iter()
            .map(|one| FeedItem::Evidence {
                digest: digest.clone(),
                evidence: vec![one],
            })
            .collect(),
        FeedItem::Evidence { .. }
        | FeedItem::Binding(_)
        | FeedItem::Withdrawn { .. }
        | FeedItem::Refusal(_) => vec![item],
    }
}

fn split(items: impl IntoIterator<Item = FeedItem>) -> Vec<Vec<FeedItem>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0_usize;
    for item in items {
        let size = size(&item);
        if !batch.is_empty()
            && (batch.len() >= MAX_ITEMS || bytes.saturating_add(size) > BATCH_BYTES)
        {
            batches.push(std::mem::take(&mut batch));
            bytes = 0;
        }
        bytes = bytes.saturating_add(size);
        batch.push(item);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

/// In JSON: control characters take six bytes there. What has no JSON has no size, and is found when it is sealed.
fn size(item: &FeedItem) -> usize {
    serde_json::to_vec(item).map_or(0, |json| json.len())
}

const fn kind(item: &FeedItem) -> &'static str {
    match item {
        FeedItem::Binding(_) => "binding",
        FeedItem::Withdrawn { .. } => "withdrawn",
        FeedItem::Refusal(_) => "refusal",
        FeedItem::Evidence { .. } => "evidence",
    }
}

/// JSON of the items; in the envelope's base64 it is a third more, which is well below a receiver's limit of 3 MiB.
const BATCH_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use daemon::metrics::Registry;
    use evidence::{
        Evidence,
        binding::{MAX_NAME_BYTES, Refusal},
        digest::Digest,
    };
    use identity::{private_key::PrivateKey, public_key::SpkiHash};

    use super::*;
    use crate::metrics::Metrics;

    fn session() -> Session {
        let dropped = Metrics::new(&Registry::new()).feed_dropped;
        Session::new(node(), dropped)
    }

    fn node() -> SpiffeId {
        SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap()
    }

    fn withdrawn(n: usize) -> FeedItem {
        FeedItem::Withdrawn {
            spki: SpkiHash::of_spki_der(&n.to_be_bytes()),
        }
    }

    fn evidence(pieces: u8, bytes: usize) -> FeedItem {
        FeedItem::Evidence {
            digest: Digest::sha256_of(b"program"),
            evidence: (0..pieces)
                .map(|n| Evidence::Dsse {
                    envelope: vec![n; bytes],
                })
                .collect(),
        }
    }

    fn evidence_in(items: &[FeedItem]) -> Vec<Evidence> {
        let of = |item: &FeedItem| match item {
            FeedItem::Evidence { evidence, .. } => evidence.clone(),
            FeedItem::Binding(_) | FeedItem::Withdrawn { .. } | FeedItem::Refusal(_) => Vec::new(),
        };
        items.iter().flat_map(of).collect()
    }

    fn refusal(n: u32, detail: &str, at: SystemTime) -> FeedItem {
        FeedItem::Refusal(Refusal {
            wanted: None,
            node: node(),
            workload: format!("pid {n}"),
            grant: None,
            digests: vec![Digest::sha256_of(&n.to_be_bytes())],
            reason: "workload-not-isolated".to_owned(),
            detail: detail.to_owned(),
            at,
        })
    }

    /// Seals with a key, and reads what a receiver would.
    fn told(session: &mut Session, items: Vec<FeedItem>) -> Vec<Vec<FeedItem>> {
        let key = PrivateKey::generate().unwrap();
        let batches = session.sealed(items, 1, |batch| batch.seal(&key)).unwrap();
        let open = |envelope: Vec<u8>| Batch::open(&envelope, key.public_key()).unwrap().items;
        batches.into_iter().map(open).collect()
    }

    #[test]
    fn items_are_split_by_count() {
        let items: Vec<_> = (0..2000).map(withdrawn).collect();
        let batches = told(&mut session(), items.clone());
        assert!(batches.iter().all(|batch| batch.len() <= MAX_ITEMS));
        assert_eq!(batches.concat(), items);
    }

    #[test]
    fn items_are_split_by_size_and_order_is_kept() {
        let items = vec![evidence(1, 600_000), evidence(1, 500_000), withdrawn(3)];
        let batches = told(&mut session(), items.clone());
        assert_eq!(batches.len(), 2);
        assert_eq!(batches.concat(), items);
    }

    #[test]
    fn refusals_with_the_longest_details_are_sealed() {
        // Control characters take six bytes each in JSON.
        let detail = "\u{1}".repeat(4000);
        let items: Vec<_> = (0..256)
            .map(|n| refusal(n, &detail, SystemTime::UNIX_EPOCH))
            .collect();
        let mut session = session();
        let told = told(&mut session, items.clone()).concat();
        // A receiver cuts the words.
        assert_eq!((told.len(), session.dropped.value()), (items.len(), 0));
    }

    #[test]
    fn evidence_of_one_digest_beyond_a_batch_is_told_in_several_items() {
        let batches = told(&mut session(), vec![evidence(64, 256 * 1024)]);
        assert!(batches.len() > 1);
        assert_eq!(
            evidence_in(&batches.concat()),
            evidence_in(&[evidence(64, 256 * 1024)])
        );
    }

    #[test]
    fn item_that_cannot_be_sealed_is_dropped_and_the_others_are_told() {
        let mut session = session();
        let mut of_a_long_name = refusal(2, "", SystemTime::UNIX_EPOCH);
        if let FeedItem::Refusal(refusal) = &mut of_a_long_name {
            refusal.workload = "x".repeat(MAX_NAME_BYTES + 1);
        }
        let no_calendar_has = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 60);
        let items = vec![
            withdrawn(1),
            evidence(1, 3 << 20),
            refusal(1, "", no_calendar_has),
            withdrawn(2),
            of_a_long_name,
        ];
        let batches = told(&mut session, items);
        assert_eq!(batches.concat(), [withdrawn(1), withdrawn(2)]);
        assert_eq!(session.dropped.value(), 3);
        assert_eq!(session.sequence, u64::try_from(batches.len()).unwrap());
    }

    #[test]
    fn item_larger_than_other_batches_is_sealed_alone() {
        let items = vec![withdrawn(1), evidence(1, 3 * BATCH_BYTES / 2), withdrawn(2)];
        let batches = told(&mut session(), items.clone());
        assert_eq!((batches.len(), batches.concat()), (3, items));
    }

    #[test]
    fn nothing_to_say_is_no_batch() {
        assert!(told(&mut session(), Vec::new()).is_empty());
    }

    #[test]
    fn change_is_reached_with_its_last_batch() {
        let mut session = session();
        session.waiting = VecDeque::from([(1, 7), (2, 7), (3, 8)]);
        assert_eq!(session.acknowledged(1), None);
        assert_eq!(session.acknowledged(2), Some(7));
        assert_eq!(session.acknowledged(3), Some(8));
        assert_eq!(session.acknowledged(3), None);
    }
}
