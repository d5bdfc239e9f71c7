//! Everything the agent says at one moment: live bindings, their evidence, recent refusals. PURE.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, SystemTime},
};

use evidence::{
    Evidence,
    binding::{Binding, FeedItem, Refusal},
    digest::Digest,
};
use identity::public_key::SpkiHash;

/// The state, and how often it changed.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    number: u64,
    bindings: BTreeMap<SpkiHash, Binding>,
    evidence: BTreeMap<Digest, Vec<Evidence>>,
    refusals: VecDeque<Refusal>,
}

impl Ledger {
    /// Takes items in; returns the number of the change, and the items that say something new, as a replica is told them.
    pub(super) fn apply(&mut self, items: Vec<FeedItem>) -> (u64, Vec<FeedItem>) {
        let new: Vec<FeedItem> = items
            .into_iter()
            .flat_map(|item| {
                let before = self.taken_back_by(&item);
                let item = self.take(&item).then_some(item);
                before.filter(|_| item.is_some()).into_iter().chain(item)
            })
            .collect();
        if !new.is_empty() {
            self.number = self.number.saturating_add(1);
        }
        (self.number, new)
    }

    /// Takes one item in, and says whether it was new.
    fn take(&mut self, item: &FeedItem) -> bool {
        match item {
            FeedItem::Binding(binding) => {
                self.bindings.insert(binding.spki, binding.clone()).as_ref() != Some(binding)
            }
            FeedItem::Withdrawn { spki } => {
                let known = self.bindings.remove(spki).is_some();
                self.forget_evidence();
                known
            }
            FeedItem::Refusal(refusal) => {
                self.refusals.push_back(refusal.clone());
                while self.refusals.len() > MOST_REFUSALS {
                    self.refusals.pop_front();
                }
                true
            }
            FeedItem::Evidence { digest, evidence } => {
                self.evidence
                    .insert(digest.clone(), evidence.clone())
                    .as_ref()
                    != Some(evidence)
            }
        }
    }

    /// A replica adds evidence of one digest together. So what is not known to be part of the new must be taken back first: evidence that has gone must
    /// not count on.
    fn taken_back_by(&self, item: &FeedItem) -> Option<FeedItem> {
        let FeedItem::Evidence { digest, evidence } = item else {
            return None;
        };
        let old = self.evidence.get(digest);
        let adds = old.is_some_and(|old| old.iter().all(|piece| evidence.contains(piece)));
        (!adds && !evidence.is_empty()).then(|| FeedItem::Evidence {
            digest: digest.clone(),
            evidence: Vec::new(),
        })
    }

    /// How many changes there were.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Everything, evidence before the bindings that need it.
    pub(super) fn state(&self) -> Vec<FeedItem> {
        let evidence = self
            .evidence
            .iter()
            .map(|(digest, evidence)| FeedItem::Evidence {
                digest: digest.clone(),
                evidence: evidence.clone(),
            });
        let bindings = self.bindings.values().cloned().map(FeedItem::Binding);
        let refusals = self.refusals.iter().cloned().map(FeedItem::Refusal);
        evidence.chain(bindings).chain(refusals).collect()
    }

    /// Forgets bindings that have ended, evidence that no binding needs, and refusals of long ago.
    pub(super) fn forget_ended(&mut self, now: SystemTime) {
        self.bindings.retain(|_, binding| now < binding.not_after);
        self.refusals.retain(|refusal| {
            now.duration_since(refusal.at)
                .is_ok_and(|age| age < REFUSALS_LAST)
                || now <= refusal.at
        });
        self.forget_evidence();
    }

    fn forget_evidence(&mut self) {
        let digests = |binding: &Binding| {
            binding
                .artifacts
                .iter()
                .flat_map(|artifact| artifact.digests.clone())
                .collect::<Vec<_>>()
        };
        let needed: BTreeSet<Digest> = self.bindings.values().flat_map(digests).collect();
        self.evidence.retain(|digest, _| needed.contains(digest));
    }
}

/// As many as the agent keeps itself.
const MOST_REFUSALS: usize = 256;
/// As long as a replica keeps them; one that goes on is told again every minute.
const REFUSALS_LAST: Duration = Duration::from_hours(24);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use evidence::binding::{BoundArtifact, Handout, Role};
    use identity::spiffe_id::SpiffeId;

    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256_of(text.as_bytes())
    }

    fn binding(key: &str, program: &str, end: u64) -> FeedItem {
        let id = |text| SpiffeId::parse(text).unwrap();
        FeedItem::Binding(Binding {
            spiffe_id: id("spiffe://acme.test/pay"),
            spki: SpkiHash::of_spki_der(key.as_bytes()),
            node: id("spiffe://acme.test/countersign/agent/node-1"),
            workload: "payments-1".to_owned(),
            grant: "payments".to_owned(),
            artifacts: vec![BoundArtifact {
                role: Role::App,
                digests: vec![digest(program)],
            }],
            handout: Handout::Api,
            not_before: UNIX_EPOCH,
            not_after: UNIX_EPOCH + Duration::from_secs(end),
        })
    }

    fn evidence(program: &str) -> FeedItem {
        FeedItem::Evidence {
            digest: digest(program),
            evidence: vec![Evidence::Dsse {
                envelope: program.as_bytes().to_vec(),
            }],
        }
    }

    fn none(program: &str) -> FeedItem {
        pieces(program, &[])
    }

    fn pieces(program: &str, pieces: &[&str]) -> FeedItem {
        let piece = |text: &&str| Evidence::Dsse {
            envelope: text.as_bytes().to_vec(),
        };
        FeedItem::Evidence {
            digest: digest(program),
            evidence: pieces.iter().map(piece).collect(),
        }
    }

    #[test]
    fn evidence_that_has_gone_is_taken_back_and_more_is_only_added() {
        let mut ledger = Ledger::default();
        let mut told = |new: &[&str]| ledger.apply(vec![pieces("a", new)]).1;
        told(&["1", "2"]);
        assert_eq!(told(&["1", "2", "3"]), vec![pieces("a", &["1", "2", "3"])]);
        assert_eq!(told(&["2"]), vec![none("a"), pieces("a", &["2"])]);
        assert_eq!(told(&["2"]), Vec::new());
        assert_eq!(told(&[]), vec![none("a")]);
    }

    #[test]
    fn evidence_of_one_digest_is_told_once() {
        let mut ledger = Ledger::default();
        assert_eq!(
            ledger.apply(vec![evidence("a"), binding("k1", "a", 9)]).1,
            vec![none("a"), evidence("a"), binding("k1", "a", 9)]
        );
        assert_eq!(
            ledger.apply(vec![evidence("a"), binding("k2", "a", 9)]).1,
            vec![binding("k2", "a", 9)]
        );
    }

    #[test]
    fn what_says_nothing_new_is_no_change() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.apply(vec![binding("k1", "a", 9)]).0, 1);
        assert_eq!(ledger.apply(vec![binding("k1", "a", 9)]), (1, Vec::new()));
    }

    #[test]
    fn state_has_evidence_before_its_binding() {
        let mut ledger = Ledger::default();
        ledger.apply(vec![binding("k1", "a", 9)]);
        ledger.apply(vec![evidence("a")]);
        assert_eq!(ledger.state(), vec![evidence("a"), binding("k1", "a", 9)]);
    }

    #[test]
    fn withdrawn_binding_leaves_with_its_evidence() {
        let mut ledger = Ledger::default();
        ledger.apply(vec![evidence("a"), binding("k1", "a", 9)]);
        let gone = FeedItem::Withdrawn {
            spki: SpkiHash::of_spki_der(b"k1"),
        };
        assert_eq!(ledger.apply(vec![gone.clone()]).1, vec![gone]);
        assert!(ledger.state().is_empty());
    }

    #[test]
    fn ended_binding_is_forgotten_and_a_live_one_is_not() {
        let mut ledger = Ledger::default();
        ledger.apply(vec![binding("k1", "a", 9), binding("k2", "a", 10)]);
        ledger.forget_ended(UNIX_EPOCH + Duration::from_secs(9));
        assert_eq!(ledger.state(), vec![binding("k2", "a", 10)]);
    }

    fn refusal(n: usize) -> FeedItem {
        FeedItem::Refusal(Refusal {
            wanted: None,
            node: SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap(),
            workload: format!("pid {n}"),
            grant: None,
            digests: Vec::new(),
            reason: "artifact-unsigned".to_owned(),
            detail: String::new(),
            at: UNIX_EPOCH,
        })
    }

    #[test]
    fn refusal_of_long_ago_is_forgotten() {
        let mut ledger = Ledger::default();
        ledger.apply(vec![refusal(1)]);
        ledger.forget_ended(UNIX_EPOCH + REFUSALS_LAST - Duration::from_secs(1));
        assert_eq!(ledger.state().len(), 1);
        ledger.forget_ended(UNIX_EPOCH + REFUSALS_LAST);
        assert!(ledger.state().is_empty());
    }

    #[test]
    fn refusals_are_bounded() {
        let mut ledger = Ledger::default();
        ledger.apply((0..=MOST_REFUSALS).map(refusal).collect());
        assert_eq!(ledger.state().len(), MOST_REFUSALS);
        assert_eq!(ledger.state().first(), Some(&refusal(1)));
    }
}
