//! Certificate files for programs that know no API: `svid.pem`, `svid_key.pem`, `bundle.pem`.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use daemon::{Lifecycle, chain};
use evidence::binding::Handout;
use parking_lot::Mutex;
use policy::reason::Reason;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};
use tracing::{error, info};

use super::svid::Svid;
use crate::{
    issuer::Authorities,
    rotation::{Holding, Rotation},
    swapped::{self, File, Owner},
    workload::{Refused, Workload},
};

/// Writes files for as long as a workload lives, and takes them away after it.
#[derive(Clone)]
pub struct Files {
    rotation: Rotation,
    authorities: watch::Receiver<Arc<Authorities>>,
    lifecycle: Lifecycle,
    in_use: Directories,
}

impl Files {
    /// Writes what this rotation makes.
    pub fn new(
        rotation: Rotation,
        authorities: watch::Receiver<Arc<Authorities>>,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            rotation,
            authorities,
            lifecycle,
            in_use: Directories::default(),
        }
    }

    /// Writes the first files of a workload, and every later version of them.
    ///
    /// # Errors
    /// The workload gets no identity, or the directory cannot be used: it must be one that only root may write, and that no other
    /// workload's files are in.
    pub async fn begin(&self, workload: &Arc<Workload>, directory: PathBuf) -> Result<(), Refused> {
        let claim = self.in_use.claim(&directory, workload).await?;
        let holding = self.rotation.hold(workload, Handout::File).await?;
        let mut writing = Writing {
            workload: Arc::clone(workload),
            directory: directory.clone(),
            holding,
            authorities: self.authorities.clone(),
            _claim: claim,
        };
        writing
            .write()
            .map_err(|failure| unusable(&directory, workload, &failure))?;
        let stop = self.lifecycle.token();
        self.lifecycle.spawn_brief("certificate-files", async move {
            stop.run_until_cancelled(writing.follow()).await;
            writing.remove();
        });
        Ok(())
    }
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").finish_non_exhaustive()
    }
}

/// The files of one workload.
struct Writing {
    workload: Arc<Workload>,
    directory: PathBuf,
    holding: watch::Receiver<Holding>,
    authorities: watch::Receiver<Arc<Authorities>>,
    _claim: Claim,
}

impl Writing {
    async fn follow(&mut self) {
        loop {
            let changed = tokio::select! {
                changed = self.holding.changed() => changed,
                changed = self.authorities.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            match self.write() {
                Ok(Written::Files) => {}
                Ok(Written::Nothing) => return,
                // The files before stay, and end with their certificate.
                Err(failure) => {
                    error!(workload = %self.workload.id, error = %chain(&failure), "certificate files could not be written");
                }
            }
        }
    }

    fn write(&mut self) -> io::Result<Written> {
        let authorities = Arc::clone(&self.authorities.borrow_and_update());
        let svid = match &*self.holding.borrow_and_update() {
            Holding::Svids(svids) => svids.first().map(Arc::clone),
            Holding::Nothing | Holding::Withdrawn(_) => None,
        };
        let Some(svid) = svid else {
            return Ok(Written::Nothing);
        };
        write(&self.directory, &svid, &authorities, self.workload.uid)?;
        info!(workload = %self.workload.id, serial = %svid.leaf().serial, directory = %self.directory.display(), "certificate files written");
        Ok(Written::Files)
    }

    fn remove(&self) {
        if let Err(failure) = swapped::remove(&self.directory, &[SVID, KEY, BUNDLE]) {
            error!(workload = %self.workload.id, error = %chain(&failure), "certificate files could not be removed");
        }
    }
}

/// The directories that files are in, and whose: two workloads in one would take each other's files for their own.
#[derive(Debug, Clone, Default)]
struct Directories(Arc<InUse>);

#[derive(Debug, Default)]
struct InUse {
    by: Mutex<BTreeMap<DirectoryId, String>>,
    freed: Notify,
}

/// Device and inode: a directory by whatever path.
type DirectoryId = (u64, u64);

impl Directories {
    /// Takes a directory for one workload. Waits a little for the files of one that has just ended.
    async fn claim(&self, directory: &Path, workload: &Workload) -> Result<Claim, Refused> {
        let facts = std::fs::metadata(directory)
            .map_err(|failure| unusable(directory, workload, &failure))?;
        let id = (facts.dev(), facts.ino());
        let deadline = Instant::now() + FREED_PATIENCE;
        loop {
            let freed = self.0.freed.notified();
            let Some(other) = self.take(id, workload) else {
                return Ok(Claim {
                    directories: self.clone(),
                    id,
                });
            };
            if timeout_at(deadline, freed).await.is_err() {
                let text = format!("the files of `{other}` are there");
                let busy = io::Error::new(io::ErrorKind::ResourceBusy, text);
                return Err(unusable(directory, workload, &busy));
            }
        }
    }

    /// Takes a directory, or says whose it is.
    fn take(&self, id: DirectoryId, workload: &Workload) -> Option<String> {
        match self.0.by.lock().entry(id) {
            Entry::Occupied(other) => Some(other.get().clone()),
            Entry::Vacant(free) => {
                free.insert(workload.id.clone());
                None
            }
        }
    }
}

/// A directory that is one workload's, until this is dropped.
#[derive(Debug)]
struct Claim {
    directories: Directories,
    id: DirectoryId,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.directories.0.by.lock().remove(&self.id);
        self.directories.0.freed.notify_waiters();
    }
}

fn unusable(directory: &Path, workload: &Workload, failure: &io::Error) -> Refused {
    let detail = format!(
        "certificate files cannot be written to `{}`: {failure}",
        directory.display()
    );
    Refused::new(Reason::AttestorFailed, detail).of(&workload.id, workload.selectors.clone())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Files,
    Nothing,
}

fn write(directory: &Path, svid: &Svid, authorities: &Authorities, uid: u32) -> io::Result<()> {
    let bundle = authorities.bundle.to_pem();
    let files = [
        File {
            name: SVID,
            bytes: svid.chain_pem().as_bytes(),
            mode: 0o600,
        },
        File {
            name: KEY,
            bytes: svid.key_pem().as_bytes(),
            mode: 0o600,
        },
        File {
            name: BUNDLE,
            bytes: bundle.as_bytes(),
            mode: 0o600,
        },
    ];
    swapped::swap(directory, &files, Some(Owner { uid, gid: uid }))
}

/// The names that spiffe-helper gives these files, so that configurations fit both.
const SVID: &str = "svid.pem";
const KEY: &str = "svid_key.pem";
const BUNDLE: &str = "bundle.pem";
/// 2 s: the files of a program go at once when it has ended, and it may be started again at once.
const FREED_PATIENCE: Duration = Duration::from_secs(2);
