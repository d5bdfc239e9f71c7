//! One stream to one replica: what is said, in which order, and what the replica has taken.

use std::collections::VecDeque;

use countersign_proto::feed::{EndOfState, Hello, PushRequest, SignedBatch, push_request::Message};
use evidence::binding::{Batch, FeedItem, MAX_ITEMS, SealError};
use identity::spiffe_id::SpiffeId;

use super::OwnSvid;

/// The numbering of one stream.
#[derive(Debug)]
pub(super) struct Session {
    node: SpiffeId,
    sequence: u64,
    /// Batches that are not acknowledged yet, with the change that each completes.
    waiting: VecDeque<(u64, u64)>,
}

impl Session {
    /// Begins a stream of this agent.
    pub(super) fn new(node: SpiffeId) -> Self {
        Self {
            node,
            sequence: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Seals the items of one change, in as many batches as a receiver opens.
    ///
    /// # Errors
    /// One item alone is too large, or the key does not sign.
    pub(super) fn batches(
        &mut self,
        items: Vec<FeedItem>,
        change: u64,
        own: &OwnSvid,
    ) -> Result<Vec<PushRequest>, SealError> {
        split(items)
            .into_iter()
            .map(|items| self.batch(items, change, own))
            .collect()
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

    fn batch(
        &mut self,
        items: Vec<FeedItem>,
        change: u64,
        own: &OwnSvid,
    ) -> Result<PushRequest, SealError> {
        self.sequence = self.sequence.saturating_add(1);
        let batch = Batch {
            node: self.node.clone(),
            sequence: self.sequence,
            items,
        };
        let envelope = batch.seal(&own.key)?;
        self.waiting.push_back((self.sequence, change));
        let chain = own
            .chain
            .iter()
            .map(|certificate| certificate.to_vec())
            .collect();
        Ok(request(Message::Batch(SignedBatch { envelope, chain })))
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

fn split(items: Vec<FeedItem>) -> Vec<Vec<FeedItem>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0_usize;
    for item in items {
        let size = estimate(&item);
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

fn estimate(item: &FeedItem) -> usize {
    match item {
        FeedItem::Evidence { evidence, .. } => evidence
            .iter()
            .map(|one| one.size().saturating_mul(2))
            .sum::<usize>()
            .saturating_add(ITEM_BYTES),
        FeedItem::Binding(_) | FeedItem::Withdrawn { .. } | FeedItem::Refusal(_) => ITEM_BYTES,
    }
}

/// What a binding takes in JSON, generously.
const ITEM_BYTES: usize = 2048;
/// Base64 twice over, in the evidence and in the envelope, leaves this well below a receiver's limit.
const BATCH_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use evidence::{Evidence, digest::Digest};
    use identity::public_key::SpkiHash;

    use super::*;

    fn withdrawn(n: usize) -> FeedItem {
        FeedItem::Withdrawn {
            spki: SpkiHash::of_spki_der(&n.to_be_bytes()),
        }
    }

    #[test]
    fn items_are_split_by_count() {
        let sizes: Vec<usize> = split((0..400).map(withdrawn).collect())
            .iter()
            .map(Vec::len)
            .collect();
        assert_eq!(sizes.iter().sum::<usize>(), 400);
        assert!(sizes.iter().all(|size| *size <= MAX_ITEMS));
    }

    #[test]
    fn items_are_split_by_size_and_order_is_kept() {
        let large = |n: u8| FeedItem::Evidence {
            digest: Digest::sha256_of(&[n]),
            evidence: vec![Evidence::Dsse {
                envelope: vec![n; 400_000],
            }],
        };
        let items = vec![large(1), large(2), withdrawn(3)];
        let batches = split(items.clone());
        assert_eq!(batches.len(), 2);
        assert_eq!(batches.concat(), items);
    }

    #[test]
    fn nothing_to_say_is_no_batch() {
        assert!(split(Vec::new()).is_empty());
    }

    #[test]
    fn change_is_reached_with_its_last_batch() {
        let mut session =
            Session::new(SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap());
        session.waiting = VecDeque::from([(1, 7), (2, 7), (3, 8)]);
        assert_eq!(session.acknowledged(1), None);
        assert_eq!(session.acknowledged(2), Some(7));
        assert_eq!(session.acknowledged(3), Some(8));
        assert_eq!(session.acknowledged(3), None);
    }
}
