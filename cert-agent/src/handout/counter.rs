//! Where a caller is served: who it is, what it holds, and when that changes or ends.

use std::sync::Arc;

use evidence::binding::Handout;
use policy::reason::Reason;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    budget::{Budget, Limits, Place},
    connection::Caller,
    svid::Svid,
};
use crate::{
    issuer::Authorities,
    judge::Judge,
    refusals::Refusals,
    rotation::{Attestor, Holding, Rotation},
    workload::{Peer, Refused, Workload},
};

/// What both APIs need to serve a caller. Cheap to clone.
#[derive(Clone)]
pub struct Counter {
    attestor: Arc<dyn Attestor>,
    judge: Judge,
    rotation: Rotation,
    refusals: Refusals,
    authorities: watch::Receiver<Arc<Authorities>>,
    budget: Budget,
    stop: CancellationToken,
}

impl Counter {
    /// Opens the counter.
    pub fn new(
        attestor: Arc<dyn Attestor>,
        judge: Judge,
        rotation: Rotation,
        refusals: Refusals,
        authorities: watch::Receiver<Arc<Authorities>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            attestor,
            judge,
            rotation,
            refusals,
            authorities,
            budget: Budget::new(STREAMS),
            stop,
        }
    }

    /// Finds out who calls and what it holds.
    ///
    /// # Errors
    /// The status that ends the call: no identity, too many streams, or the issuer is down.
    pub async fn serve(&self, caller: Option<&Caller>, handout: Handout) -> Result<Visit, Status> {
        let peer = self.peer(caller)?;
        let place = self
            .budget
            .take(peer.uid())
            .ok_or_else(|| Status::unavailable("overloaded: too many streams of this user"))?;
        let workload = match self.attestor.workload_of(&peer).await {
            Ok(workload) => workload,
            Err(refused) => return Err(self.refuse(refused)),
        };
        let holding = self
            .rotation
            .hold(&workload, handout)
            .await
            .map_err(|refused| status(&refused))?;
        let authorities = self.authorities.clone();
        Ok(Visit {
            counter: self.clone(),
            peer,
            workload,
            holding,
            authorities,
            _place: place,
        })
    }

    fn peer(&self, caller: Option<&Caller>) -> Result<Peer, Status> {
        let unknown = || {
            Refused::new(
                Reason::AttestorFailed,
                "the connection does not say who calls",
            )
        };
        caller
            .ok_or_else(unknown)
            .and_then(Caller::peer)
            .cloned()
            .map_err(|refused| self.refuse(refused))
    }

    /// Keeps a refusal that the rotation did not see, with the identity that was wanted, if one can be told.
    fn refuse(&self, refused: Refused) -> Status {
        let refused = self.judge.nearest(refused);
        self.refusals.keep(&refused);
        status(&refused)
    }
}

impl std::fmt::Debug for Counter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

/// One caller being served.
#[derive(Debug)]
pub struct Visit {
    counter: Counter,
    peer: Peer,
    workload: Arc<Workload>,
    holding: watch::Receiver<Holding>,
    authorities: watch::Receiver<Arc<Authorities>>,
    _place: Place,
}

/// What a caller may be sent now. It was checked after it was read, so it must be sent, not kept.
#[derive(Debug, Clone)]
pub struct Portion {
    /// Its SVIDs, at least one.
    pub svids: Arc<[Arc<Svid>]>,
    /// Whom it may trust.
    pub authorities: Arc<Authorities>,
}

impl Visit {
    /// Waits until something changed, or the visit is over.
    ///
    /// # Errors
    /// The status that ends the stream: the process ended, the identity was withdrawn, the agent stops.
    pub async fn changed(&mut self) -> Result<(), Status> {
        tokio::select! { biased;
            () = self.counter.stop.cancelled() => Err(Status::unavailable("the agent is stopping")),
            () = self.peer.exited() => Err(status(&self.gone("the process that asked has ended"))),
            changed = self.holding.changed() => changed.map_err(|_ended| status(&self.gone("the workload has ended"))),
            changed = self.authorities.changed() => changed.map_err(|_ended| Status::unavailable("the agent is stopping")),
        }
    }

    /// Says what may be sent now. The scope and the process are looked at again before every push.
    ///
    /// # Errors
    /// The status that ends the stream.
    pub async fn portion(&mut self) -> Result<Portion, Status> {
        let authorities = Arc::clone(&self.authorities.borrow_and_update());
        let holding = self.holding.borrow_and_update().clone();
        let svids = match holding {
            Holding::Svids(svids) => svids,
            Holding::Withdrawn(refused) => return Err(status(&refused)),
            Holding::Nothing => return Err(status(&self.gone("the workload holds nothing"))),
        };
        self.counter
            .attestor
            .check(&self.workload, Some(&self.peer))
            .await
            .map_err(|refused| self.counter.refuse(refused))?;
        Ok(Portion { svids, authorities })
    }

    /// The workload that is served.
    pub fn workload(&self) -> &Workload {
        &self.workload
    }

    fn gone(&self, detail: &str) -> Refused {
        Refused::new(Reason::WorkloadGone, detail)
            .of(&self.workload.id, self.workload.selectors.clone())
    }
}

/// What a refused caller is told: the reason, not the policy.
pub fn status(refused: &Refused) -> Status {
    let message = format!("{}: {}", refused.reason.code(), refused.reason.meaning());
    // SPEC(Workload Endpoint §6): `PermissionDenied` has no identity; `Unavailable` may try again.
    if refused.reason == Reason::IssuerUnavailable {
        Status::unavailable(message)
    } else {
        Status::permission_denied(message)
    }
}

const STREAMS: Limits = Limits {
    // Envoy opens one stream for each secret it names; a hundred programs of one user are far more than one workload kind.
    per_uid: 256,
    // Each is a task and a few kilobytes.
    total: 16_384,
};
