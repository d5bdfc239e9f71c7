//! Whether an agent vouches for the caller's key, and for its identity, now.

use std::time::SystemTime;

use policy::reason::Reason;

use crate::caller::Caller;
use crate::denial::Denial;
use crate::snapshot::{Bound, Snapshot, Synced};

/// The live binding of the caller's key.
pub(super) fn live<'a>(
    caller: &Caller,
    snapshot: &'a Snapshot,
    now: SystemTime,
) -> Result<&'a Bound, Denial> {
    let Some(bound) = snapshot.binding(&caller.key) else {
        return Err(missing(&snapshot.synced));
    };
    let binding = &bound.binding;
    if binding.spki != caller.key || binding.spiffe_id != caller.spiffe_id {
        let detail = format!(
            "the key was bound to `{}`, not to `{}`",
            binding.spiffe_id, caller.spiffe_id
        );
        return Err(Denial::new(Reason::BindingIdentityMismatch, detail));
    }
    if now < binding.not_before {
        return Err(Denial::new(
            Reason::BindingExpired,
            "the binding does not count yet",
        ));
    }
    if now >= binding.not_after {
        return Err(Denial::new(Reason::BindingExpired, "the binding has ended"));
    }
    Ok(bound)
}

/// Until every known agent has told all it knows, a miss says nothing about the caller.
fn missing(synced: &Synced) -> Denial {
    match synced {
        Synced::All => Denial::new(
            Reason::BindingMissing,
            "no agent vouches for the key of this certificate",
        ),
        Synced::Missing(agents) => {
            let agents: Vec<_> = agents.iter().map(ToString::to_string).collect();
            Denial::new(
                Reason::NotSynced,
                format!("not heard yet from {}", agents.join(", ")),
            )
        }
    }
}
