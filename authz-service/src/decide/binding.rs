//! Whether an agent vouches for the caller's key, and for its identity, now.

use std::time::SystemTime;

use evidence::binding::Binding;
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
    let mut bounds = snapshot.bindings_of(&caller.key, &caller.spiffe_id);
    let Some(first) = bounds.next() else {
        return Err(match (snapshot.binding(&caller.key), &snapshot.synced) {
            (Some(other), Synced::All) => mismatch(&other.binding, caller),
            // The agent whose key this is may still speak.
            (Some(_) | None, synced) => missing(synced),
        });
    };
    match in_force(first, now) {
        Ok(bound) => Ok(bound),
        // Several agents may give one identity: what one said lately stands when another's word has ended.
        Err(denial) => bounds
            .find_map(|bound| in_force(bound, now).ok())
            .ok_or(denial),
    }
}

fn in_force(bound: &Bound, now: SystemTime) -> Result<&Bound, Denial> {
    if now < bound.binding.not_before {
        return Err(Denial::new(
            Reason::BindingExpired,
            "the binding does not count yet",
        ));
    }
    if now >= bound.binding.not_after {
        return Err(Denial::new(Reason::BindingExpired, "the binding has ended"));
    }
    Ok(bound)
}

fn mismatch(binding: &Binding, caller: &Caller) -> Denial {
    let detail = format!(
        "the key was bound to `{}`, not to `{}`",
        binding.spiffe_id, caller.spiffe_id
    );
    Denial::new(Reason::BindingIdentityMismatch, detail)
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
