//! The one judge of who gets an identity. PURE.

use std::{sync::Arc, time::SystemTime};

use evidence::{binding::BoundArtifact, vouched::Vouched};
use policy::{
    reason::Reason,
    requirement::{Requirement, Unmet},
};

use crate::{
    grants::{Grant, Grants},
    workload::{Refused, Workload},
};

/// One artifact of a workload with what is known of each of its digests.
#[derive(Debug, Clone)]
pub struct Attested {
    /// What runs.
    pub artifact: BoundArtifact,
    /// What evidence proves about each of its digests, in the order of the digests.
    pub vouched: Vec<Arc<Vouched>>,
}

/// Says which identities a workload is entitled to at `now`: those of every grant whose selectors it shows and whose requirement each of its artifacts meets.
///
/// # Errors
/// Refuses when no grant is met, with the reason of the first grant whose selectors it showed.
pub fn entitle(
    workload: &Workload,
    attested: &[Attested],
    grants: &Grants,
    now: SystemTime,
) -> Result<Vec<Arc<Grant>>, Refused> {
    let mut entitled = Vec::new();
    let mut nearest = None;
    for grant in grants
        .iter()
        .filter(|grant| grant.terms.selects(&workload.selectors))
    {
        match meets(&grant.terms.artifact, attested, now) {
            Ok(()) => entitled.push(Arc::clone(grant)),
            Err(unmet) => nearest = nearest.or(Some((grant, unmet))),
        }
    }
    if !entitled.is_empty() {
        return Ok(entitled);
    }
    Err(nearest.map_or_else(
        || refuse(workload, Reason::GrantNoneMatched, no_match(workload)),
        |(grant, unmet)| wanting(refuse(workload, unmet.reason, unmet.detail), grant),
    ))
}

/// Says under which grant whoever was refused would have had which identity, if it shows the selectors of one.
#[must_use]
pub fn nearest(refused: Refused, grants: &Grants) -> Refused {
    if refused.wanted.is_some() {
        return refused;
    }
    match grants
        .iter()
        .find(|grant| grant.terms.selects(&refused.selectors))
    {
        Some(grant) => wanting(refused, grant),
        None => refused,
    }
}

/// Says whether every artifact meets a requirement: through at least one of its digests each.
///
/// # Errors
/// Returns what the first artifact lacks. A workload without artifacts meets nothing.
pub fn meets(
    requirement: &Requirement,
    attested: &[Attested],
    now: SystemTime,
) -> Result<(), Unmet> {
    if attested.is_empty() {
        return Err(Unmet {
            reason: Reason::ArtifactUnsigned,
            detail: "the workload has no artifact".to_owned(),
        });
    }
    attested
        .iter()
        .try_for_each(|one| meets_by_one_digest(requirement, one, now))
}

fn meets_by_one_digest(
    requirement: &Requirement,
    attested: &Attested,
    now: SystemTime,
) -> Result<(), Unmet> {
    let mut told = None;
    for vouched in &attested.vouched {
        match requirement.accepts(vouched, now) {
            Ok(()) => return Ok(()),
            Err(unmet) => told = Some(more_telling(told, unmet)),
        }
    }
    Err(told.unwrap_or_else(|| Unmet {
        reason: Reason::ArtifactUnsigned,
        detail: "the artifact has no digest".to_owned(),
    }))
}

/// An absent signature says less than a bad one of another digest of the same artifact.
fn more_telling(told: Option<Unmet>, unmet: Unmet) -> Unmet {
    match told {
        Some(told) if told.reason != Reason::ArtifactUnsigned => told,
        Some(_) | None => unmet,
    }
}

fn refuse(workload: &Workload, reason: Reason, detail: String) -> Refused {
    let digests = workload
        .artifacts
        .iter()
        .flat_map(|artifact| artifact.digests.iter().cloned());
    Refused::new(reason, detail)
        .of(&workload.id, workload.selectors.clone())
        .running(digests)
}

/// Adds to a refusal the grant that it failed.
#[must_use]
pub fn wanting(mut refused: Refused, grant: &Grant) -> Refused {
    refused.grant = Some(grant.terms.name.to_string());
    refused.wanted = Some(grant.terms.spiffe_id.clone());
    refused
}

fn no_match(workload: &Workload) -> String {
    let shown: Vec<String> = workload.selectors.iter().map(ToString::to_string).collect();
    format!("no grant's selectors are all among {}", shown.join(", "))
}

#[cfg(test)]
mod tests;
