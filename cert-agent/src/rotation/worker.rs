//! The keys of one workload: made, renewed, withdrawn and dropped here.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use daemon::Backoff;
use evidence::binding::{Binding, FeedItem, Handout};
use identity::public_key::SpkiHash;
use policy::reason::Reason;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Holding, Parts, draw,
    plan::{Next, Plan},
};
use crate::{
    grants::{Grant, Origin},
    handout::svid::Svid,
    judge::Entitled,
    workload::{Refused, Workload},
};

mod make;

/// What a worker is asked.
pub(super) enum Command {
    /// Be entitled now, and hold SVIDs.
    Hold {
        handout: Handout,
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// New keys now.
    Rotate {
        reply: oneshot::Sender<Result<(), Refused>>,
    },
}

/// The worker of one workload.
pub(super) struct Worker {
    workload: Arc<Workload>,
    parts: Parts,
    handout: Handout,
    kept: BTreeMap<Arc<str>, Kept>,
    /// Every key that was bound and may still be in use, with the end of its binding.
    bound: BTreeMap<SpkiHash, SystemTime>,
    holding: watch::Sender<Holding>,
    troubled: Option<String>,
    backoff: Backoff,
    /// No renewal is tried before this, while the SVID before still holds.
    retry_at: Option<Instant>,
}

/// One SVID that is held.
struct Kept {
    svid: Arc<Svid>,
    plan: Plan,
}

/// Which SVIDs a round makes anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// Those that the plan says.
    Due,
    /// All.
    All,
}

impl Worker {
    pub(super) fn new(
        workload: Arc<Workload>,
        parts: Parts,
        holding: watch::Sender<Holding>,
    ) -> Self {
        Self {
            workload,
            parts,
            handout: Handout::Api,
            kept: BTreeMap::new(),
            bound: BTreeMap::new(),
            holding,
            troubled: None,
            backoff: Backoff::new(RETRY, RETRY_CAP),
            retry_at: None,
        }
    }

    /// Works until the workload or the agent ends.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<Command>, stop: CancellationToken) {
        let attestor = Arc::clone(&self.parts.attestor);
        let workload = Arc::clone(&self.workload);
        let mut gone = attestor.gone(&workload);
        loop {
            tokio::select! { biased;
                () = stop.cancelled() => return,
                () = &mut gone => return self.on_gone(),
                command = inbox.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                () = tokio::time::sleep(LOOK) => self.on_look().await,
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Hold { handout, reply } => {
                if self.kept.is_empty() {
                    self.handout = handout;
                }
                let result = self.round(Round::Due).await;
                let _nobody_waits = reply.send(result);
            }
            Command::Rotate { reply } => {
                let result = self.round(Round::All).await;
                let _nobody_waits = reply.send(result);
            }
        }
    }

    /// A timed look at the evidence, the policy and the plan: each may have changed since.
    async fn on_look(&mut self) {
        if !self.kept.is_empty() {
            // What it found is in `holding`, and kept.
            let _told = self.round(Round::Due).await;
        }
    }

    fn on_gone(&mut self) {
        info!(workload = %self.workload.id, "workload has ended");
        let refused = Refused::new(Reason::WorkloadGone, "the workload has ended")
            .of(&self.workload.id, self.workload.selectors.clone());
        self.drop_all();
        self.holding.send_replace(Holding::Withdrawn(refused));
    }

    /// Judges the workload, makes what is due, and hands it on. Whatever fails, nothing is held that is not entitled.
    async fn round(&mut self, round: Round) -> Result<(), Refused> {
        match self.entitled_round(round).await {
            Ok(()) => Ok(()),
            Err(refused) => {
                self.withdraw(&refused);
                Err(refused)
            }
        }
    }

    async fn entitled_round(&mut self, round: Round) -> Result<(), Refused> {
        let entitled = self.parts.judge.workload(&self.workload).await?;
        let dropped = self.drop_unentitled(&entitled.grants);
        let due = self.due(&entitled.grants, round);
        if due.is_empty() {
            if dropped {
                self.show(&entitled.grants);
            }
            return self.something_held();
        }
        // The scope is looked at before a key is made for it, and again before it is handed over.
        self.parts.attestor.check(&self.workload, None).await?;
        let made = self.make(&due).await;
        if !made.is_empty() {
            self.parts.attestor.check(&self.workload, None).await?;
            self.bind(&made, &entitled).await;
            self.keep(made);
        }
        self.show(&entitled.grants);
        self.something_held()
    }

    /// Lets go of what is no longer entitled.
    fn drop_unentitled(&mut self, grants: &[Arc<Grant>]) -> bool {
        let now = self.parts.clock.now();
        let entitled = |kept: &Kept| {
            grants
                .iter()
                .any(|grant| same_identity(grant, kept.svid.grant()))
        };
        let before = self.kept.len();
        let mut withdrawn = Vec::new();
        self.kept.retain(|_, kept| {
            let stays = entitled(kept) && kept.plan.at(now) != Next::Over;
            if !stays {
                withdrawn.push(kept.svid.leaf().spki);
            }
            stays
        });
        self.unbind(withdrawn);
        self.kept.len() != before
    }

    fn due(&self, grants: &[Arc<Grant>], round: Round) -> Vec<Arc<Grant>> {
        let now = self.parts.clock.now();
        let waiting = self.retry_at.is_some_and(|retry| Instant::now() < retry);
        let due = |grant: &&Arc<Grant>| match (self.kept.get(&grant.terms.name), round) {
            (None | Some(_), Round::All) => true,
            // Nothing is held at all: whoever asks now must not wait for the next try.
            (None, Round::Due) => self.kept.is_empty() || !waiting,
            (Some(kept), Round::Due) => match kept.plan.at(now) {
                Next::Wait(_) => false,
                Next::Renew => !waiting,
                Next::Over => true,
            },
        };
        grants.iter().filter(due).cloned().collect()
    }

    /// Tells every replica before the SVID can be used. Programs of the infrastructure do not wait: the replicas are among them.
    async fn bind(&mut self, made: &[Arc<Svid>], entitled: &Entitled) {
        let evidence = entitled
            .evidence
            .iter()
            .cloned()
            .map(|(digest, evidence)| FeedItem::Evidence { digest, evidence });
        let bindings = made
            .iter()
            .map(|svid| FeedItem::Binding(self.binding(svid)));
        let told = self.parts.feed.tell(evidence.chain(bindings).collect());
        if made
            .iter()
            .any(|svid| svid.grant().origin == Origin::Policy)
        {
            self.parts.feed.swapped_in(told).await;
        }
    }

    fn binding(&self, svid: &Svid) -> Binding {
        let leaf = svid.leaf();
        Binding {
            spiffe_id: leaf.spiffe_id.clone(),
            spki: leaf.spki,
            node: self.parts.node.clone(),
            workload: self.workload.id.clone(),
            grant: svid.grant().terms.name.to_string(),
            artifacts: self.workload.artifacts.clone(),
            handout: self.handout,
            not_before: leaf.not_before,
            not_after: self.parts.feed.not_past_our_own(leaf.not_after),
        }
    }

    fn keep(&mut self, made: Vec<Arc<Svid>>) {
        let now = self.parts.clock.now();
        self.bound.retain(|_, end| now < *end);
        for svid in made {
            let (leaf, name) = (svid.leaf(), Arc::clone(&svid.grant().terms.name));
            // The key of the SVID before stays bound: connections that began with it go on until its own end.
            let end = self.parts.feed.not_past_our_own(leaf.not_after);
            self.bound.insert(leaf.spki, end);
            let plan = Plan::of(leaf.not_before, end, draw());
            self.kept.insert(name, Kept { svid, plan });
        }
    }

    /// Hands on what is held, if that is news.
    fn show(&self, grants: &[Arc<Grant>]) {
        let svids: Arc<[Arc<Svid>]> = grants
            .iter()
            .filter_map(|grant| self.kept.get(&grant.terms.name))
            .map(|kept| Arc::clone(&kept.svid))
            .collect();
        self.holding.send_if_modified(|holding| {
            let differs = !svids.is_empty() && !holding.is(&svids);
            if differs {
                *holding = Holding::Svids(svids);
            }
            differs
        });
    }

    fn something_held(&self) -> Result<(), Refused> {
        if !self.kept.is_empty() {
            return Ok(());
        }
        let detail = self
            .troubled
            .clone()
            .unwrap_or_else(|| "no SVID could be made".to_owned());
        Err(Refused::new(Reason::IssuerUnavailable, detail)
            .of(&self.workload.id, self.workload.selectors.clone()))
    }

    fn withdraw(&mut self, refused: &Refused) {
        self.drop_all();
        self.parts.refusals.keep(refused);
        self.holding
            .send_replace(Holding::Withdrawn(refused.clone()));
    }

    fn drop_all(&mut self) {
        self.kept.clear();
        let bound = self.bound.keys().copied().collect();
        self.unbind(bound);
    }

    fn unbind(&mut self, keys: Vec<SpkiHash>) {
        if keys.is_empty() {
            return;
        }
        self.bound.retain(|spki, _| !keys.contains(spki));
        self.parts.feed.tell(
            keys.into_iter()
                .map(|spki| FeedItem::Withdrawn { spki })
                .collect(),
        );
    }
}

/// A grant whose identity, names or lifetime changed is another one: its SVID is made anew.
fn same_identity(one: &Grant, other: &Grant) -> bool {
    let (one, other) = (&one.terms, &other.terms);
    one.name == other.name
        && one.spiffe_id == other.spiffe_id
        && one.dns_names == other.dns_names
        && one.ttl == other.ttl
}

/// How often evidence, policy and plan are looked at: what was taken away counts within this time.
const LOOK: Duration = Duration::from_secs(2);
/// The first retry of a renewal that failed; doubled each time.
const RETRY: Duration = Duration::from_secs(2);
/// An issuer that comes back is asked within this time.
const RETRY_CAP: Duration = Duration::from_mins(1);
