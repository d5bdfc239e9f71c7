//! Certificate files for programs that know no API: `svid.pem`, `svid_key.pem`, `bundle.pem`.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use daemon::{Lifecycle, chain};
use evidence::binding::Handout;
use policy::reason::Reason;
use tokio::sync::watch;
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
        }
    }

    /// Writes the first files of a workload, and every later version of them.
    ///
    /// # Errors
    /// The workload gets no identity, or the directory cannot be used: it must be one that only root may write.
    pub async fn begin(&self, workload: &Arc<Workload>, directory: PathBuf) -> Result<(), Refused> {
        let holding = self.rotation.hold(workload, Handout::File).await?;
        let mut writing = Writing {
            workload: Arc::clone(workload),
            directory,
            holding,
            authorities: self.authorities.clone(),
        };
        writing
            .write()
            .map_err(|failure| writing.unusable(&failure))?;
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

    fn unusable(&self, failure: &io::Error) -> Refused {
        let detail = format!(
            "certificate files cannot be written to `{}`: {failure}",
            self.directory.display()
        );
        Refused::new(Reason::AttestorFailed, detail)
            .of(&self.workload.id, self.workload.selectors.clone())
    }
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
