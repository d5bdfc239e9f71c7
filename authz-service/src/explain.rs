//! Why one decision was what it was: its record, link by link, with the broken one named and the next step.

mod next;
mod text;

use evidence::binding::Refusal;
use policy::reason::Reason;
use serde::{Deserialize, Serialize};

use crate::decide::{Link, Outcome};
use crate::record::DecisionRecord;

/// An explained decision.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The record itself.
    pub record: DecisionRecord,
    /// The first link that does not hold. `None` for a permit, and for a Check that ended before there was a chain.
    pub broken: Option<Link>,
    /// What the reason means, and who can mend it.
    pub reason: Option<ReasonText>,
    /// The same for the artifact reason beneath it.
    pub cause: Option<ReasonText>,
    /// What agents said about the identity that was claimed: why nobody holds it, or why somebody was refused it.
    pub refusals: Vec<Refusal>,
    /// What to do, in order.
    pub next: Vec<String>,
}

/// A reason in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonText {
    /// The stable code.
    pub code: Reason,
    /// What it means.
    pub meaning: String,
    /// Who can mend it.
    pub fixed_by: String,
}

impl Explanation {
    /// Explains a record. `heard` are refusals of the caller's identity that agents sent since; none when read from a file alone.
    pub fn of(record: DecisionRecord, heard: &[Refusal]) -> Self {
        let broken = record
            .steps
            .iter()
            .find(|step| matches!(step.outcome, Outcome::Broke(_)))
            .map(|step| step.link);
        let mut refusals = record.refusals.clone();
        if bears_on_identity(record.reason) {
            refusals.extend(
                heard
                    .iter()
                    .filter(|refusal| !record.refusals.contains(refusal))
                    .cloned(),
            );
        }
        refusals.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        let next = next::steps(&record, &refusals);
        Self {
            reason: record.reason.map(ReasonText::of),
            cause: record.cause.map(ReasonText::of),
            broken,
            refusals,
            next,
            record,
        }
    }

    /// The explanation for people.
    pub fn text(&self) -> String {
        text::text(self)
    }
}

/// A record as one line: when, which, why, who, what.
pub fn line(record: &DecisionRecord) -> String {
    text::line(record)
}

impl ReasonText {
    fn of(code: Reason) -> Self {
        Self {
            code,
            meaning: code.meaning().to_owned(),
            fixed_by: code.fixed_by().to_string(),
        }
    }
}

/// Whether what agents said of the identity can be why.
fn bears_on_identity(reason: Option<Reason>) -> bool {
    let of_identity = [
        Reason::BindingMissing,
        Reason::BindingExpired,
        Reason::BindingIdentityMismatch,
        Reason::NotSynced,
        Reason::IdentityExpired,
    ];
    reason.is_some_and(|reason| of_identity.contains(&reason))
}

#[cfg(test)]
mod tests;
