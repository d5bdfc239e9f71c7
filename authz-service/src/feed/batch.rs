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

/// What the agent said, as far as it may say it. A binding that it may not give becomes a refusal, so that `explain` can name it.
pub(super) fn admitted(
    items: Vec<FeedItem>,
    agent: &Agent,
    ends: Option<SystemTime>,
    now: SystemTime,
) -> Vec<FeedItem> {
    let admit = |item| match item {
        FeedItem::Binding(binding) => match fault(&binding, agent) {
            None => Some(FeedItem::Binding(until(binding, ends))),
            Some(fault) => Some(FeedItem::Refusal(refusal(binding, agent, fault, now))),
        },
        FeedItem::Refusal(refusal) => {
            (refusal.node == agent.identity).then_some(FeedItem::Refusal(refusal))
        }
        other @ (FeedItem::Withdrawn { .. } | FeedItem::Evidence { .. }) => Some(other),
    };
    items.into_iter().filter_map(admit).collect()
}

fn fault(binding: &Binding, agent: &Agent) -> Option<String> {
    let Agent {
        identity,
        may_vouch_for,
    } = agent;
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
    if !may_vouch_for
        .iter()
        .any(|pattern: &IdentityPattern| pattern.matches(&binding.spiffe_id))
    {
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
