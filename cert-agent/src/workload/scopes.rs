//! Every scope this agent began: the only places where a host process earns an identity.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use daemon::{chain, clock::Clock};
use evidence::binding::BoundArtifact;
use policy::reason::Reason;
use rustix::fs::CWD;
use tokio::sync::Notify;

use super::{
    CgroupError, FileId, Hierarchy, Identification, LaunchSpec, Peer, Prepared, Refused, Workload,
    cgroup::{Cgroup, Mount},
    digests::Digests,
    file::FileFacts,
    scope::Scope,
    selectors,
};
use crate::descriptors;

mod home;

pub use home::ScopesConfig;
use home::take;

/// The scopes that have not ended. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Scopes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    hierarchy: Hierarchy,
    home: Cgroup,
    /// Held for as long as the agent lives.
    _lock: File,
    launcher: PathBuf,
    launcher_id: FileId,
    user_namespace: FileId,
    /// The limit programs get: that of the agent before it raised its own.
    descriptors: u64,
    clock: Arc<dyn Clock>,
    digests: Digests,
    next: AtomicU64,
    live: parking_lot::Mutex<BTreeMap<String, Arc<Scope>>>,
    ended: Notify,
}

impl Scopes {
    /// Finds the cgroup2 mount, takes the agent's directory in it, and ends what an earlier run of the agent left there.
    ///
    /// # Errors
    /// No cgroup2, no right to write it, or another agent has that directory.
    pub fn open(config: ScopesConfig, clock: Arc<dyn Clock>) -> Result<Self, CgroupError> {
        let ScopesConfig { name, launcher } = config;
        let mount = Mount::find()?;
        let home = Cgroup::under(&mount, &name);
        let lock = take(&home)?;
        let unusable = |source| CgroupError::Launcher {
            path: launcher.clone(),
            source,
        };
        let launcher_id = FileFacts::at(CWD, &launcher).map_err(unusable)?.id;
        let user_namespace = FileFacts::at(CWD, "/proc/self/ns/user")
            .map_err(unusable)?
            .id;
        let descriptors = descriptors::limit().map_err(unusable)?;
        tracing::info!(
            directory = %home.directory().display(),
            hierarchy = mount.hierarchy.as_str(),
            peers = Identification::of_this_kernel().as_str(),
            "scopes are made here"
        );
        Ok(Self(Arc::new(Inner {
            hierarchy: mount.hierarchy,
            home,
            _lock: lock,
            launcher,
            launcher_id,
            user_namespace,
            descriptors,
            clock,
            digests: Digests::default(),
            next: AtomicU64::new(1),
            live: parking_lot::Mutex::default(),
            ended: Notify::new(),
        })))
    }

    /// Which hierarchy a look-up trusts.
    pub fn hierarchy(&self) -> Hierarchy {
        self.0.hierarchy
    }

    /// Where scopes are made.
    pub fn directory(&self) -> &Path {
        self.0.home.directory()
    }

    /// Makes a scope in which nothing runs yet.
    ///
    /// # Errors
    /// `workload-not-isolated` for root, and for a user that another grant's workload has; `workload-modified` for a loader variable;
    /// `attestor-failed` when the cgroup cannot be made.
    pub fn prepare(&self, spec: LaunchSpec) -> Result<Prepared, Refused> {
        let digest = spec.program.digest().clone();
        self.begin(spec)
            .map_err(|refused| refused.running([digest]))
    }

    /// Finds the scope a peer runs in, and checks it: the peer is what it was, and every process of the scope is its program.
    ///
    /// # Errors
    /// In this order: `workload-gone`, `attestor-failed`, `workload-changed`, `workload-not-isolated`, `workload-modified`. The refusal names the
    /// peer's executable by digest, where that could be read.
    pub async fn workload_of(&self, peer: &Peer) -> Result<Arc<Workload>, Refused> {
        let found = match self.scope_of(peer) {
            Ok(scope) => {
                scope.settled().await;
                self.look(Arc::clone(&scope), Some(peer))
                    .await
                    .map(|()| Arc::clone(&scope.workload))
            }
            Err(refused) => Err(peer.describe(refused)),
        };
        match found {
            Err(refused) if refused.digests.is_empty() => {
                Err(refused.running(self.0.digests.of(peer.executable()).await))
            }
            found => found,
        }
    }

    /// Checks a workload again, and with it the peer that asks.
    ///
    /// # Errors
    /// As [`Scopes::workload_of`]; `workload-gone` also when the scope has ended, `workload-not-isolated` when the peer runs elsewhere.
    pub async fn check(&self, workload: &Workload, peer: Option<&Peer>) -> Result<(), Refused> {
        match self.named(&workload.id) {
            Some(scope) => self.look(scope, peer).await,
            None => Err(Refused::new(Reason::WorkloadGone, "the scope has ended")
                .of(workload.id.clone(), workload.selectors.clone())
                .running([workload.program.clone()])),
        }
    }

    /// Resolves when the workload's scope has ended.
    pub async fn gone(&self, workload: &Workload) {
        if let Some(scope) = self.named(&workload.id) {
            scope.ended().await;
        }
    }

    /// Every workload whose scope has not ended.
    pub fn workloads(&self) -> Vec<Arc<Workload>> {
        self.0
            .live
            .lock()
            .values()
            .map(|scope| Arc::clone(&scope.workload))
            .collect()
    }

    /// Waits until every scope has been removed. For the agent's end, after the last [`super::Running`] was dropped: a process must not outlive its agent
    /// because that was quicker.
    pub async fn removed(&self) {
        loop {
            let ended = self.0.ended.notified();
            if self.0.live.lock().is_empty() {
                return;
            }
            ended.await;
        }
    }

    pub(super) fn launcher(&self) -> &Path {
        &self.0.launcher
    }

    pub(super) fn descriptors(&self) -> u64 {
        self.0.descriptors
    }

    /// Kills and removes a scope, and forgets it when that is done: its user stays taken while a process may still live. Blocks.
    pub(super) fn end(&self, scope: &Scope) {
        if let Err(error) = scope.end().or_else(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                Ok(())
            } else {
                Err(error)
            }
        }) {
            tracing::error!(workload = scope.workload.id, error = %chain(&error), "scope could not be removed; its user stays taken");
            return;
        }
        self.0.live.lock().remove(&scope.workload.id);
        self.0.ended.notify_waiters();
    }

    fn begin(&self, spec: LaunchSpec) -> Result<Prepared, Refused> {
        spec.check()?;
        let LaunchSpec {
            grant,
            uid,
            gid,
            role,
            program,
            arguments,
            environment,
        } = spec;
        let mut live = self.0.live.lock();
        if let Some(other) = live
            .values()
            .find(|scope| scope.workload.uid == uid && scope.workload.grant != grant)
        {
            let detail = format!(
                "uid {uid} is in use by grant `{}`; each grant needs a user of its own",
                other.workload.grant
            );
            return Err(Refused::new(Reason::WorkloadNotIsolated, detail));
        }
        let id = format!("{grant}-{}", self.0.next.fetch_add(1, Ordering::Relaxed));
        let cgroup = self.0.home.child(&id);
        cgroup.create().map_err(|error| {
            Refused::new(
                Reason::AttestorFailed,
                format!("cannot make the scope `{id}`: {error}"),
            )
        })?;
        let digest = program.digest().clone();
        let workload = Arc::new(Workload {
            id: id.clone(),
            grant,
            uid,
            selectors: selectors(uid, gid),
            artifacts: vec![BoundArtifact {
                role,
                digests: vec![digest.clone()],
            }],
            program: digest,
            started: self.0.clock.now(),
        });
        let scope = Arc::new(Scope::new(
            workload,
            program,
            cgroup,
            self.0.launcher_id,
            self.0.user_namespace,
        ));
        live.insert(id, Arc::clone(&scope));
        drop(live);
        Ok(Prepared::new(
            self.clone(),
            scope,
            gid,
            arguments,
            environment,
        ))
    }

    fn scope_of(&self, peer: &Peer) -> Result<Arc<Scope>, Refused> {
        peer.check(self.0.user_namespace)?;
        let cgroup = peer
            .process()
            .cgroup()
            .map_err(|error| super::peer::failed("its cgroup", &error))?;
        let found = self
            .0
            .live
            .lock()
            .values()
            .find(|scope| scope.cgroup.name() == cgroup)
            .map(Arc::clone);
        peer.check_lives()?;
        found.ok_or_else(|| {
            let path = peer.process().executable_path();
            Refused::new(
                Reason::WorkloadNotIsolated,
                format!("`{path}` runs in the cgroup `{cgroup}`, which this agent did not begin"),
            )
        })
    }

    async fn look(&self, scope: Arc<Scope>, peer: Option<&Peer>) -> Result<(), Refused> {
        let peer = peer.cloned();
        // The look goes on to its end, and thaws, also when nobody waits for it any more.
        let looked = tokio::task::spawn_blocking(move || scope.check(peer.as_ref())).await;
        looked.unwrap_or_else(|error| Err(Refused::new(Reason::AttestorFailed, chain(&error))))
    }

    fn named(&self, id: &str) -> Option<Arc<Scope>> {
        self.0.live.lock().get(id).map(Arc::clone)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Only an empty directory can be removed; a full one is emptied by the agent's next run.
        drop(std::fs::remove_dir(self.home.directory()));
    }
}
