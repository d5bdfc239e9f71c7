//! One signed batch: opened with the agent's own key, and each thing in it held against what the agent may say.

use std::time::SystemTime;

use countersign_proto::feed::SignedBatch;
use evidence::binding::{Batch, Binding, FeedItem, Refusal};
use identity::spiffe_id::SpiffeId;
use identity::trust_bundle::TrustBundle;
use identity::x509_svid::{self, Leaf};
use policy::pattern::IdentityPattern;
use policy::reason::Reason;
use rustls::pki_types::CertificateDer;

use super::Agent;
use super::refused::Refused;
use crate::snapshot::Intermediate;
use crate::snapshot::writer::is_old;

/// A batch that its agent signed, and the intermediates that came with it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) batch: Batch,
    pub(super) intermediates: Vec<Intermediate>,
}

/// Opens a batch with the key of the SVID that came with it, which must be the agent's own at `now`.
pub(super) fn open(
    signed: SignedBatch,
    agent: &SpiffeId,
    bundle: &TrustBundle,
    now: SystemTime,
) -> Result<Opened, Refused> {
    let SignedBatch { envelope, chain } = signed;
    let mut chain = chain.into_iter().map(CertificateDer::from);
    let leaf_der = chain.next().ok_or(Refused::ChainMissing)?;
    let intermediates: Vec<_> = chain.collect();
    let leaf = Leaf::parse(&leaf_der).map_err(Refused::Leaf)?;
    if leaf.spiffe_id != *agent {
        return Err(Refused::WrongSigner {
            got: leaf.spiffe_id,
        });
    }
    x509_svid::verify_chain(&leaf_der, &intermediates, bundle, now).map_err(Refused::Chain)?;
    let batch = Batch::open(&envelope, &leaf.public_key).map_err(Refused::Batch)?;
    if batch.node != *agent {
        return Err(Refused::WrongNode { got: batch.node });
    }
    let intermediates = authorities(intermediates, bundle, now)?;
    Ok(Opened {
        batch,
        intermediates,
    })
}

/// Intermediates that the operator's root signed itself.
pub(super) fn authorities(
    certificates: Vec<CertificateDer<'static>>,
    bundle: &TrustBundle,
    now: SystemTime,
) -> Result<Vec<Intermediate>, Refused> {
    if certificates.len() > x509_svid::MAX_INTERMEDIATES {
        return Err(Refused::TooManyIntermediates(certificates.len()));
    }
    let checked = certificates.into_iter().map(|der| {
        let authority =
            x509_svid::verify_authority(&der, bundle, now).map_err(Refused::Intermediate)?;
        Ok(Intermediate {
            der,
            not_after: authority.not_after,
        })
    });
    checked.collect()
}

/// What the agent said, as far as it may say it.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) items: Vec<FeedItem>,
    /// The refusals that were not its to report, or explain nothing any more.
    pub(super) dropped: usize,
}

/// Holds each item against what the agent may say. A binding that it may not give becomes a refusal, so that `explain` can name it.
pub(super) fn admitted(
    items: Vec<FeedItem>,
    agent: &Agent,
    ends: Option<SystemTime>,
    now: SystemTime,
) -> Admitted {
    let count = items.len();
    let admit = |item| match item {
        FeedItem::Binding(binding) => match fault(&binding, agent) {
            None => Some(FeedItem::Binding(until(binding, ends))),
            Some(fault) => Some(FeedItem::Refusal(refusal(binding, agent, fault, now))),
        },
        FeedItem::Refusal(refusal) => reported(refusal, agent, now).map(FeedItem::Refusal),
        other @ (FeedItem::Withdrawn { .. } | FeedItem::Evidence { .. }) => Some(other),
    };
    let items: Vec<_> = items.into_iter().filter_map(admit).collect();
    Admitted {
        dropped: count.saturating_sub(items.len()),
        items,
    }
}

/// The agent's own refusal of an identity that it may vouch for, or of none. Its clock may run ahead of ours.
fn reported(refusal: Refusal, agent: &Agent, now: SystemTime) -> Option<Refusal> {
    let of_its_own = refusal.node == agent.identity
        && refusal
            .wanted
            .as_ref()
            .is_none_or(|wanted| may_vouch_for(agent, wanted));
    (of_its_own && !is_old(refusal.at, now)).then(|| Refusal {
        at: refusal.at.min(now),
        ..refusal
    })
}

fn may_vouch_for(agent: &Agent, identity: &SpiffeId) -> bool {
    agent
        .may_vouch_for
        .iter()
        .any(|pattern: &IdentityPattern| pattern.matches(identity))
}

fn fault(binding: &Binding, agent: &Agent) -> Option<String> {
    let identity = &agent.identity;
    let digests: usize = binding
        .artifacts
        .iter()
        .map(|artifact| artifact.digests.len())
        .sum();
    if binding.node != *identity {
        return Some(format!(
            "agent `{identity}` gave a binding of node `{}`",
            binding.node
        ));
    }
    if !may_vouch_for(agent, &binding.spiffe_id) {
        return Some(format!(
            "agent `{identity}` may not vouch for this identity: see `mayVouchFor`"
        ));
    }
    if digests > MAX_DIGESTS {
        return Some(format!(
            "the binding names {digests} digests; {MAX_DIGESTS} is the most"
        ));
    }
    (binding.not_before >= binding.not_after)
        .then(|| "the binding ends before it begins".to_owned())
}

fn refusal(binding: Binding, agent: &Agent, fault: String, now: SystemTime) -> Refusal {
    Refusal {
        wanted: Some(binding.spiffe_id),
        node: agent.identity.clone(),
        workload: binding.workload,
        grant: Some(binding.grant),
        digests: binding
            .artifacts
            .into_iter()
            .flat_map(|artifact| artifact.digests)
            .take(MAX_DIGESTS)
            .collect(),
        reason: Reason::RequesterNotPermitted.code().to_owned(),
        detail: fault,
        at: now,
    }
}

/// No binding outlives the authority beneath which its agent speaks.
fn until(binding: Binding, ends: Option<SystemTime>) -> Binding {
    match ends {
        Some(ends) if ends < binding.not_after => Binding {
            not_after: ends,
            ..binding
        },
        Some(_) | None => binding,
    }
}

/// 64 digests of one workload // an image has an index, a manifest and a config; a pod some containers.
const MAX_DIGESTS: usize = 64;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::{FRONTEND, HOUR, noon};

    fn agent() -> Agent {
        Agent {
            identity: SpiffeId::parse("spiffe://acme.test/countersign/agent/node-1").unwrap(),
            may_vouch_for: vec![IdentityPattern::parse("spiffe://acme.test/ns/web/**").unwrap()],
        }
    }

    fn reported(wanted: &str, at: SystemTime) -> FeedItem {
        FeedItem::Refusal(Refusal {
            wanted: Some(SpiffeId::parse(wanted).unwrap()),
            node: agent().identity,
            workload: "rogue-1".to_owned(),
            grant: None,
            digests: Vec::new(),
            reason: "artifact-unsigned".to_owned(),
            detail: String::new(),
            at,
        })
    }

    #[test]
    fn refusals_that_are_not_the_agents_to_report_are_dropped() {
        let said = vec![
            reported(FRONTEND, noon()),
            reported("spiffe://acme.test/ns/pay/sa/payments", noon()),
            reported(FRONTEND, noon() - HOUR - Duration::from_secs(1)),
        ];
        let Admitted { items, dropped } = admitted(said, &agent(), None, noon());
        assert_eq!(items, [reported(FRONTEND, noon())]);
        assert_eq!(dropped, 2);
    }

    #[test]
    fn refusal_from_the_future_is_of_now() {
        let said = vec![reported(FRONTEND, noon() + 100 * HOUR)];
        let Admitted { items, dropped } = admitted(said, &agent(), None, noon());
        assert_eq!((items, dropped), (vec![reported(FRONTEND, noon())], 0));
    }
}
