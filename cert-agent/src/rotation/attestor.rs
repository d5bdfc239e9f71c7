//! What attests workloads: their scopes, as the handouts and the rotation see them.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::workload::{Peer, Refused, Scopes, Workload};

/// Who runs what on this node.
pub trait Attestor: Send + Sync {
    /// Finds the workload of a process, and checks it.
    fn workload_of<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Arc<Workload>, Refused>>;
    /// Checks that every process of a workload is still its program, and the peer with them.
    fn check<'a>(
        &'a self,
        workload: &'a Workload,
        peer: Option<&'a Peer>,
    ) -> BoxFuture<'a, Result<(), Refused>>;
    /// Resolves when the workload has ended.
    fn gone<'a>(&'a self, workload: &'a Workload) -> BoxFuture<'a, ()>;
}

impl Attestor for Scopes {
    fn workload_of<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Arc<Workload>, Refused>> {
        Box::pin(Self::workload_of(self, peer))
    }

    fn check<'a>(
        &'a self,
        workload: &'a Workload,
        peer: Option<&'a Peer>,
    ) -> BoxFuture<'a, Result<(), Refused>> {
        Box::pin(Self::check(self, workload, peer))
    }

    fn gone<'a>(&'a self, workload: &'a Workload) -> BoxFuture<'a, ()> {
        Box::pin(Self::gone(self, workload))
    }
}
