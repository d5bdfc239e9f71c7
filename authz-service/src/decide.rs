//! PURE. The one judge: a question and a snapshot in, a decision out. The only maker of a [`Permit`].

use std::sync::Arc;
use std::time::SystemTime;

use artifact::reference::{Reference, Repository};
use evidence::digest::Digest;
use identity::spiffe_id::SpiffeId;
use policy::reason::Reason;
use policy::rule::{AccessRule, Effect};

use crate::denial::Denial;
use crate::question::{Fact, Question};
use crate::snapshot::Snapshot;
use crate::target::{Host, Target};

mod binding;
mod callers;
mod served;
mod targets;
mod trail;

use callers::Subject;
use served::{Asked, Served};
use targets::Part;
pub use trail::{Link, Outcome, Step, Trail};

/// Decides at `now`. Reads no clock, takes no lock, does no I/O.
///
/// 1. The caller is known, and so is the target.
/// 2. A binding is live for the caller's key, and for its identity.
/// 3. No rule denies.
/// 4. Some rule permits this caller this target, and the caller's artifacts meet what it demands.
/// 5. So does the artifact about to be served, if the target is one.
///
/// The first link that breaks is the denial's reason.
pub fn decide(question: &Question, snapshot: &Snapshot, now: SystemTime) -> Judgement {
    let mut trail = Trail::default();
    let decision = links(question, snapshot, now, &mut trail).unwrap_or_else(Decision::Deny);
    Judgement { decision, trail }
}

/// A decision, and how far along the chain it was reached.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// What was decided.
    pub decision: Decision,
    /// Each link of the chain in order, for `explain`.
    pub trail: Trail,
}

/// What was decided.
#[derive(Clone, Debug)]
pub enum Decision {
    /// The request goes on.
    Permit(Permit),
    /// The request ends here.
    Deny(Denial),
    /// Everything before it holds: ask again with this artifact.
    Needs(NeededArtifact),
}

/// Leave to go on. Only [`decide`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    rule: Arc<str>,
    caller: SpiffeId,
    pin: Option<String>,
}

impl Permit {
    /// The rule that permits.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Who may go on.
    pub fn caller(&self) -> &SpiffeId {
        &self.caller
    }

    /// The `:path` that the proxy must ask for in place of the client's: the same manifest, by the digest that was verified.
    pub fn pinned_path(&self) -> Option<&str> {
        self.pin.as_deref()
    }

    /// A permit that nobody decided on.
    #[cfg(test)]
    pub(crate) fn undecided(rule: &str, caller: &SpiffeId, pin: Option<&str>) -> Self {
        Self {
            rule: rule.into(),
            caller: caller.clone(),
            pin: pin.map(str::to_owned),
        }
    }
}

/// The artifact that a decision waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeededArtifact {
    /// The registry.
    pub host: Host,
    /// The repository in it.
    pub repository: Repository,
    /// Which artifact.
    pub wanted: Wanted,
    /// The client's own `Accept`, by which a tag must be resolved.
    pub accept: Vec<String>,
}

/// Which artifact a decision waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A manifest or index: resolve it if it is a tag, vouch for it.
    Manifest(Reference),
    /// A blob: find the verified manifest whose closure holds it.
    Blob(Digest),
}

/// Walks the chain, noting each link as it is tried.
fn links(
    question: &Question,
    snapshot: &Snapshot,
    now: SystemTime,
    trail: &mut Trail,
) -> Result<Decision, Denial> {
    let caller = trail.hold(Link::Identity, known(&question.caller))?;
    let target = trail.hold(Link::Target, known(&question.target))?;
    let bound = trail.hold(Link::Binding, binding::live(caller, snapshot, now))?;
    let subject = Subject { caller, bound, now };
    let rules = snapshot.policy.rules();
    trail.hold(Link::Rule, no_rule_denies(rules, &subject, target))?;
    let served = Served {
        asked: Asked::of(target),
        artifact: question.artifact.as_ref(),
        now,
    };
    permit(rules, &subject, target, &served, trail)
}

fn known<T>(fact: &Fact<T>) -> Result<&T, Denial> {
    match fact {
        Fact::Known(value) => Ok(value),
        Fact::Refused(denial) => Err(denial.clone()),
    }
}

/// Deny wins: every deny rule is read before any permit is.
fn no_rule_denies(
    rules: &[AccessRule],
    subject: &Subject<'_>,
    target: &Target,
) -> Result<(), Denial> {
    let deny = rules.iter().filter(|rule| rule.effect == Effect::Deny);
    for rule in deny {
        if subject.is_denied_by(&rule.from) && targets::denied_by(rule.to.as_ref(), target) {
            return Err(Denial::new(Reason::RuleDenied, "a deny rule matches").by_rule(&rule.name));
        }
    }
    Ok(())
}

/// Every part of the request must be permitted; the record names the rule that permits the first.
fn permit(
    rules: &[AccessRule],
    subject: &Subject<'_>,
    target: &Target,
    served: &Served<'_>,
    trail: &mut Trail,
) -> Result<Decision, Denial> {
    let mut named = None;
    let mut needed = None;
    for part in targets::parts(target) {
        match permit_part(rules, subject, &part, served, trail)? {
            Granted::By(rule) => named = named.or(Some(rule)),
            Granted::Waits(artifact) => needed = Some(artifact),
        }
    }
    match (needed, named) {
        (Some(needed), _) => Ok(Decision::Needs(needed)),
        (None, Some(rule)) => Ok(Decision::Permit(Permit {
            rule,
            caller: subject.caller.spiffe_id.clone(),
            pin: served.pin(),
        })),
        // A target without parts asks for nothing that a rule could permit.
        (None, None) => trail.hold(
            Link::Rule,
            Err(Denial::new(
                Reason::NoRuleMatched,
                "no rule can be about this",
            )),
        ),
    }
}

/// What became of one part of a request.
enum Granted {
    By(Arc<str>),
    Waits(NeededArtifact),
}

/// Tries each permit in order. The rule that came furthest gives the reason if none permits.
fn permit_part(
    rules: &[AccessRule],
    subject: &Subject<'_>,
    part: &Part<'_>,
    served: &Served<'_>,
    trail: &mut Trail,
) -> Result<Granted, Denial> {
    let mut furthest: Option<(Link, Denial)> = None;
    for rule in rules.iter().filter(|rule| rule.effect == Effect::Permit) {
        let Some(to) = rule.to.as_ref().filter(|to| part.is_among(to)) else {
            continue;
        };
        match permit_by(rule, to, subject, part, served) {
            Ok(granted) => {
                trail.note(Link::Rule, Outcome::Held);
                trail.note(Link::CallerArtifact, Outcome::Held);
                if part.is_an_artifact() {
                    let waits = matches!(granted, Granted::Waits(_));
                    trail.note(
                        Link::TargetArtifact,
                        if waits { Outcome::Waits } else { Outcome::Held },
                    );
                }
                return Ok(granted);
            }
            Err((link, denial)) => {
                if furthest.as_ref().is_none_or(|(known, _)| *known < link) {
                    furthest = Some((link, denial));
                }
            }
        }
    }
    let (link, denial) = furthest.unwrap_or_else(|| {
        (
            Link::Rule,
            Denial::new(Reason::NoRuleMatched, "no permit is about this target"),
        )
    });
    trail.broke(link, denial.reason);
    Err(denial)
}

/// Whether this rule, which is about this part, permits it to this caller; else the link at which it does not.
fn permit_by(
    rule: &AccessRule,
    to: &policy::rule::Targets,
    subject: &Subject<'_>,
    part: &Part<'_>,
    served: &Served<'_>,
) -> Result<Granted, (Link, Denial)> {
    if !subject.is_named_by(&rule.from) {
        return Err((
            Link::Rule,
            Denial::new(
                Reason::NoRuleMatched,
                "permits for this target name other callers",
            ),
        ));
    }
    subject
        .meets(rule.from.artifact.as_ref())
        .map_err(|denial| (Link::CallerArtifact, denial.by_rule(&rule.name)))?;
    let Some(needed) = part.artifact() else {
        return Ok(Granted::By(Arc::clone(&rule.name)));
    };
    match served.meets(&part.demand(to)) {
        None => Ok(Granted::Waits(needed)),
        Some(Ok(())) => Ok(Granted::By(Arc::clone(&rule.name))),
        Some(Err(denial)) => Err((Link::TargetArtifact, denial.by_rule(&rule.name))),
    }
}

#[cfg(test)]
mod tests;
