//! How trust changes: roots replaced, intermediates learnt and dropped.

use std::sync::Arc;
use std::time::SystemTime;

use identity::spiffe_id::TrustDomain;
use identity::trust_bundle::TrustBundles;
use identity::x509_svid;

use crate::snapshot::{Intermediate, Trust};

/// Puts the operator's roots in force. Intermediates that they do not sign are dropped.
pub(super) fn replace_roots(trust: &mut Arc<Trust>, bundles: TrustBundles, now: SystemTime) {
    if trust.bundles == bundles {
        return;
    }
    change(trust, |trust| {
        for (trust_domain, intermediates) in &mut trust.intermediates {
            let bundle = bundles.get(trust_domain);
            intermediates.retain(|intermediate| {
                bundle.is_some_and(|bundle| {
                    x509_svid::verify_authority(&intermediate.der, bundle, now).is_ok()
                })
            });
        }
        trust.bundles = bundles;
    });
}

/// Adds intermediates that are not known yet.
pub(super) fn learn(trust: &mut Arc<Trust>, trust_domain: &TrustDomain, learnt: Vec<Intermediate>) {
    let mut kept = trust
        .intermediates
        .get(trust_domain)
        .cloned()
        .unwrap_or_default();
    let before = kept.len();
    for new in learnt {
        if !kept.iter().any(|old| old.der == new.der) {
            kept.push(new);
        }
    }
    if kept.len() == before {
        return;
    }
    // The ones that end last are worth the most.
    kept.sort_by_key(|intermediate| std::cmp::Reverse(intermediate.not_after));
    kept.truncate(MAX_INTERMEDIATES);
    change(trust, |trust| {
        trust.intermediates.insert(trust_domain.clone(), kept);
    });
}

/// Drops intermediates that have ended. Says whether there were any.
pub(super) fn sweep(trust: &mut Arc<Trust>, now: SystemTime) -> bool {
    let ended = |intermediate: &Intermediate| intermediate.not_after < now;
    let any = trust.intermediates.values().flatten().any(ended);
    if any {
        change(trust, |trust| {
            for intermediates in trust.intermediates.values_mut() {
                intermediates.retain(|intermediate| !ended(intermediate));
            }
        });
    }
    any
}

/// INVARIANT: whatever changes, the generation grows, so that no cached verdict on a certificate outlives it.
fn change(trust: &mut Arc<Trust>, change: impl FnOnce(&mut Trust)) {
    let mut next = Trust::clone(trust);
    change(&mut next);
    next.generation += 1;
    *trust = Arc::new(next);
}

/// 8 intermediates of one trust domain // as many as a chain may bring; two are in use while one is renewed.
const MAX_INTERMEDIATES: usize = 8;
