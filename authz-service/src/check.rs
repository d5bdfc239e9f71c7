//! The table of contents of one Check: caller, target, decide, pull, decide again, record.

pub mod answer;

use std::sync::Arc;
use std::time::SystemTime;

use daemon::clock::Clock;
use policy::reason::Reason;

use crate::caller::Peers;
use crate::decide::{Decision, Judgement, NeededArtifact, decide};
use crate::denial::Denial;
use crate::ext_authz::request::{InvalidRequest, RawCheck};
use crate::ext_authz::service::CallContext;
use crate::pull::{Pulled, Puller};
use crate::question::{Fact, Question, TargetArtifact};
use crate::record::{Conclusion, Draft, Recorder, unanswered};
use crate::snapshot::writer::Snapshots;
use crate::snapshot::{Snapshot, Synced};
use crate::target::target;

pub use answer::{Answer, ClientShape, Verdict};

/// Answers Checks. One for the whole process, shared by every lane.
#[derive(Debug)]
pub struct Checker {
    /// Wall time, read anew at each asking.
    pub clock: Arc<dyn Clock>,
    /// The view that decides.
    pub snapshots: Snapshots,
    /// Certificates seen lately.
    pub peers: Peers,
    /// What would be served.
    pub puller: Puller,
    /// Every sink.
    pub recorder: Arc<Recorder>,
}

impl Checker {
    /// Decides one request and records the decision, exactly once, just before it returns.
    ///
    /// Never waits past `call.deadline`. Whoever drops the future calls [`Checker::cancelled`].
    pub async fn check(
        &self,
        asked: &Result<RawCheck, InvalidRequest>,
        call: &CallContext,
    ) -> Answer {
        let first = self.ask(asked, None);
        let asking = match &first.judgement.decision {
            Decision::Permit(_) | Decision::Deny(_) => first,
            Decision::Needs(needed) => {
                self.ask_with_artifact(asked, needed, &first.snapshot, call)
                    .await
            }
        };
        self.answer(asked, asking, call)
    }

    /// Records and answers a denial of our own (`deadline`, `overloaded`, `internal`) for a Check that `check` did not finish.
    pub fn denied(
        &self,
        reason: Reason,
        asked: &Result<RawCheck, InvalidRequest>,
        call: &CallContext,
    ) -> Answer {
        let denial = Denial::new(reason, reason.meaning());
        let snapshot = self.snapshots.load();
        let draft = Draft::unjudged(Conclusion::Deny, denial.clone(), asked, &snapshot);
        let decision_id = self.recorder.record(draft, call);
        Answer {
            decision_id,
            verdict: Verdict::Deny(denial),
            client: shape(asked),
        }
    }

    /// Records a Check whose caller left before the answer.
    pub fn cancelled(&self, asked: &Result<RawCheck, InvalidRequest>, call: &CallContext) {
        let denial = Denial::new(Reason::Cancelled, "the proxy left before the answer");
        let snapshot = self.snapshots.load();
        self.recorder.record(
            Draft::unjudged(Conclusion::Cancelled, denial, asked, &snapshot),
            call,
        );
    }

    /// One asking of `decide`: a fresh clock, one snapshot, the whole question built anew.
    fn ask(
        &self,
        asked: &Result<RawCheck, InvalidRequest>,
        artifact: Option<&Fact<TargetArtifact>>,
    ) -> Asking {
        let now = self.clock.now();
        let snapshot = self.snapshots.load();
        let mut question = self.question(asked, &snapshot, now);
        if let Some(artifact) = artifact {
            question = question.with_artifact(artifact.clone());
        }
        let judgement = decide(&question, &snapshot, now);
        Asking {
            question,
            snapshot,
            judgement,
        }
    }

    fn question(
        &self,
        asked: &Result<RawCheck, InvalidRequest>,
        snapshot: &Snapshot,
        now: SystemTime,
    ) -> Question {
        match asked {
            Ok(raw) => {
                let caller = self.peers.caller(raw, &snapshot.trust, now);
                Question::new(
                    caller.map_err(|denial| our_fault_until_synced(denial, snapshot)),
                    target(raw),
                )
            }
            Err(invalid) => Question::new(Err(Denial::from(invalid)), Err(Denial::from(invalid))),
        }
    }

    /// Finds the artifact, asks again, and remembers what a permit lets the client ask for next.
    async fn ask_with_artifact(
        &self,
        asked: &Result<RawCheck, InvalidRequest>,
        needed: &NeededArtifact,
        snapshot: &Snapshot,
        call: &CallContext,
    ) -> Asking {
        let pulled = self
            .puller
            .pull(needed, &snapshot.policy, call.deadline)
            .await;
        let asking = self.ask_any(asked, &pulled);
        if asking.is_permit() {
            self.puller.permitted(pulled);
        }
        asking
    }

    /// Asks about what was found until a permit: a blob may belong to several manifests, and any of them may vouch for it.
    fn ask_any(&self, asked: &Result<RawCheck, InvalidRequest>, pulled: &Pulled) -> Asking {
        let mut first = None;
        for artifact in pulled.artifacts() {
            let asking = self.ask(asked, Some(artifact));
            if asking.is_permit() {
                return asking;
            }
            first.get_or_insert(asking);
        }
        first.unwrap_or_else(|| self.ask(asked, None))
    }

    fn answer(
        &self,
        asked: &Result<RawCheck, InvalidRequest>,
        asking: Asking,
        call: &CallContext,
    ) -> Answer {
        let Asking {
            question,
            snapshot,
            judgement,
        } = asking;
        let draft = Draft::judged(&judgement, question, &snapshot);
        let decision_id = self.recorder.record(draft, call);
        let verdict = match judgement.decision {
            Decision::Permit(permit) => Verdict::Permit(permit),
            Decision::Deny(denial) => Verdict::Deny(denial),
            Decision::Needs(_) => Verdict::Deny(unanswered()),
        };
        Answer {
            decision_id,
            verdict,
            client: shape(asked),
        }
    }
}

/// One asking, kept whole so that what is recorded is what was judged.
struct Asking {
    question: Question,
    snapshot: Arc<Snapshot>,
    judgement: Judgement,
}

impl Asking {
    fn is_permit(&self) -> bool {
        matches!(self.judgement.decision, Decision::Permit(_))
    }
}

/// A chain may be broken only because the intermediate has not come by the feed yet.
fn our_fault_until_synced(denial: Denial, snapshot: &Snapshot) -> Denial {
    match &snapshot.synced {
        Synced::Missing(agents) if denial.reason == Reason::IdentityUntrusted => {
            let agents: Vec<_> = agents.iter().map(ToString::to_string).collect();
            let detail = format!("{}; not heard yet: {}", denial.detail, agents.join(", "));
            Denial::new(Reason::NotSynced, detail)
        }
        Synced::Missing(_) | Synced::All => denial,
    }
}

fn shape(asked: &Result<RawCheck, InvalidRequest>) -> ClientShape {
    match asked {
        Ok(raw) => ClientShape::of(&raw.path, &raw.content_type),
        Err(_unreadable) => ClientShape::Http,
    }
}
