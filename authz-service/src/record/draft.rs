//! What one Check hands over to be recorded, before it has an id.

use policy::reason::Reason;

use super::{Conclusion, RequestLine};
use crate::decide::{Decision, Judgement, Step};
use crate::denial::Denial;
use crate::ext_authz::request::{InvalidRequest, RawCheck};
use crate::question::Question;
use crate::snapshot::Snapshot;

/// A decision and all it was made of.
#[derive(Debug)]
pub struct Draft {
    pub(super) conclusion: Conclusion,
    pub(super) denial: Option<Denial>,
    pub(super) rule: Option<String>,
    pub(super) pinned: Option<String>,
    pub(super) question: Option<Question>,
    pub(super) request: Option<RequestLine>,
    pub(super) steps: Vec<Step>,
    pub(super) refusals: Vec<evidence::binding::Refusal>,
    pub(super) generation: u64,
    pub(super) policy: String,
}

impl Draft {
    /// A judgement, on the question and the snapshot that it was made from.
    pub fn judged(judgement: &Judgement, question: Question, snapshot: &Snapshot) -> Self {
        let (conclusion, denial, rule, pinned) = match &judgement.decision {
            Decision::Permit(permit) => {
                let pinned = permit.pinned_path().map(str::to_owned);
                (
                    Conclusion::Permit,
                    None,
                    Some(permit.rule().to_owned()),
                    pinned,
                )
            }
            Decision::Deny(denial) => (
                Conclusion::Deny,
                Some(denial.clone()),
                denial.rule.clone(),
                None,
            ),
            // `check` answers a question that is still open with a denial of its own.
            Decision::Needs(_) => (Conclusion::Deny, Some(unanswered()), None, None),
        };
        let refusals = refusals(denial.as_ref(), &question, snapshot);
        Self {
            conclusion,
            denial,
            rule,
            pinned,
            question: Some(question),
            request: None,
            steps: judgement.trail.steps().to_vec(),
            refusals,
            generation: snapshot.generation,
            policy: snapshot.policy.hash().to_owned(),
        }
    }

    /// A Check that ended before there was a judgement: no caller and no target were established.
    pub fn unjudged(
        conclusion: Conclusion,
        denial: Denial,
        asked: &Result<RawCheck, InvalidRequest>,
        snapshot: &Snapshot,
    ) -> Self {
        Self {
            conclusion,
            denial: Some(denial),
            rule: None,
            pinned: None,
            question: None,
            request: asked.as_ref().ok().map(RequestLine::of),
            steps: Vec::new(),
            refusals: Vec::new(),
            generation: snapshot.generation,
            policy: snapshot.policy.hash().to_owned(),
        }
    }
}

/// The denial of a question that two askings left open.
pub(crate) fn unanswered() -> Denial {
    Denial::new(
        Reason::VerificationPending,
        "the artifact changed while it was verified",
    )
}

/// What agents said about the caller's identity, if its binding is what broke.
fn refusals(
    denial: Option<&Denial>,
    question: &Question,
    snapshot: &Snapshot,
) -> Vec<evidence::binding::Refusal> {
    let about_binding = denial.is_some_and(|denial| {
        [
            Reason::BindingMissing,
            Reason::BindingExpired,
            Reason::BindingIdentityMismatch,
        ]
        .contains(&denial.reason)
    });
    match question.caller.known() {
        Some(caller) if about_binding => {
            let known = snapshot.refusals(&caller.spiffe_id);
            known.iter().rev().take(MAX_REFUSALS).cloned().collect()
        }
        Some(_) | None => Vec::new(),
    }
}

impl RequestLine {
    fn of(asked: &RawCheck) -> Self {
        let cut = |bytes: &[u8]| {
            let kept = bytes.get(..MAX_FIELD_BYTES).unwrap_or(bytes);
            String::from_utf8_lossy(kept).into_owned()
        };
        Self {
            method: cut(&asked.method),
            host: cut(&asked.host),
            path: cut(&asked.path),
        }
    }
}

/// 4 refusals // enough to see a pattern, little enough for a log line.
const MAX_REFUSALS: usize = 4;

/// 2 KiB of each part of a request line // longer ones are an attacker's.
const MAX_FIELD_BYTES: usize = 2048;
