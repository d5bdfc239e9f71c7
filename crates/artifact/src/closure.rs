//! Which blobs and child manifests belong to a manifest that was verified under a policy.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::{Path, PathBuf},
    time::Duration,
};

use evidence::Digest;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

use crate::reference::Repository;

mod file;
#[cfg(test)]
mod tests;

pub use file::ClosureFileError;

/// What a closure was verified under: content of one repository is no content of another, and a new policy starts anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClosureKey {
    /// The registry's host, without a port.
    pub host: String,
    /// The repository.
    pub repository: Repository,
    /// The hash of the policy that permitted the manifest.
    pub policy_hash: String,
}

/// Whether a digest belongs to something that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closure {
    /// It belongs to these verified manifests, at least one and at most [`MAX_HOLDERS`]: what is vouched for any of them counts for it.
    Inside(Vec<Digest>),
    /// The whole repository was derived a moment ago, and it belongs to nothing verified.
    Outside,
    /// It belongs to nothing that is known here; another replica may know more. Derive, or answer "pending"; never guess.
    Unknown,
}

/// The closures that are known here, kept in a file over restarts.
#[derive(Debug)]
pub struct Closures {
    path: PathBuf,
    known: Mutex<Known>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Known {
    repositories: BTreeMap<ClosureKey, Verified>,
    derived: BTreeMap<ClosureKey, Instant>,
    /// Oldest first, to forget the oldest when there are too many.
    order: VecDeque<(ClosureKey, Digest)>,
}

/// What was verified in one repository, both ways round.
#[derive(Debug, Default)]
struct Verified {
    /// By manifest, what belongs to it.
    members: BTreeMap<Digest, BTreeSet<Digest>>,
    /// By digest, the manifests it belongs to: shared layers have many.
    holders: BTreeMap<Digest, BTreeSet<Digest>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Replaced,
    None,
}

/// The most verified manifests that are remembered. Each is some hundred bytes to some kilobytes.
pub const MAX_MANIFESTS: usize = 16_384;

/// The most manifests that are named for one digest. A base layer has as many as there are releases.
pub const MAX_HOLDERS: usize = 64;

/// For how long "belongs to nothing verified" holds after a repository was derived: a push may change it.
pub const DERIVED_FOR: Duration = Duration::from_secs(30);

impl Closures {
    /// Reads what an earlier run remembered. A file that is not there holds nothing.
    ///
    /// # Errors
    /// [`ClosureFileError`] if the file cannot be read. Starting with [`Closures::empty`] is then safe: everything is derived again.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ClosureFileError> {
        let closures = Self::empty(path);
        let manifests = file::load(&closures.path)?;
        {
            let mut known = closures.known.lock();
            for (key, digest, members) in manifests {
                known.remember(&key, &digest, members);
            }
        }
        Ok(closures)
    }

    /// Knows nothing yet; will be kept in `path`.
    pub fn empty(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            known: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Remembers that `manifest` was verified and permitted, and what belongs to it.
    pub fn remember(
        &self,
        key: &ClosureKey,
        manifest: &Digest,
        members: impl IntoIterator<Item = Digest>,
    ) {
        let members: BTreeSet<_> = members.into_iter().collect();
        if self.known.lock().remember(key, manifest, members) {
            self.changed.notify_one();
        }
    }

    /// Remembers that every tag of the repository was looked at just now, so that what is unknown is outside.
    pub fn derived(&self, key: &ClosureKey) {
        let now = Instant::now();
        let mut known = self.known.lock();
        known
            .derived
            .retain(|_, at| now.duration_since(*at) < DERIVED_FOR);
        known.derived.insert(key.clone(), now);
    }

    /// Where `digest`, a manifest or a blob, belongs.
    pub fn admits(&self, key: &ClosureKey, digest: &Digest) -> Closure {
        let known = self.known.lock();
        if let Some(manifests) = known.holders(key, digest) {
            return Closure::Inside(manifests.iter().take(MAX_HOLDERS).cloned().collect());
        }
        let derived = known
            .derived
            .get(key)
            .is_some_and(|at| at.elapsed() < DERIVED_FOR);
        if derived {
            Closure::Outside
        } else {
            Closure::Unknown
        }
    }

    /// Forgets what was verified under other policies.
    pub fn retain_policy(&self, policy_hash: &str) {
        self.known
            .lock()
            .retain(|key| key.policy_hash == policy_hash);
        self.changed.notify_one();
    }

    /// Writes the file, atomically. Blocking.
    ///
    /// # Errors
    /// [`ClosureFileError`]; the file then holds what it held before.
    pub fn persist(&self) -> Result<(), ClosureFileError> {
        let entries = self.known.lock().entries();
        file::store(&self.path, &entries)
    }

    /// Waits until something is worth persisting.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The file that they are kept in.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Known {
    /// True if this was new.
    fn remember(
        &mut self,
        key: &ClosureKey,
        manifest: &Digest,
        mut members: BTreeSet<Digest>,
    ) -> bool {
        members.insert(manifest.clone());
        let change = self
            .repositories
            .entry(key.clone())
            .or_default()
            .remember(manifest, members);
        if change == Change::Added {
            self.order.push_back((key.clone(), manifest.clone()));
            self.forget_oldest();
        }
        change != Change::None
    }

    fn forget_oldest(&mut self) {
        while self.order.len() > MAX_MANIFESTS {
            let Some((key, manifest)) = self.order.pop_front() else {
                return;
            };
            if let Some(repository) = self.repositories.get_mut(&key) {
                repository.forget(&manifest);
                if repository.members.is_empty() {
                    self.repositories.remove(&key);
                }
            }
        }
    }

    fn holders(&self, key: &ClosureKey, digest: &Digest) -> Option<&BTreeSet<Digest>> {
        self.repositories.get(key)?.holders.get(digest)
    }

    fn retain(&mut self, keep: impl Fn(&ClosureKey) -> bool) {
        self.repositories.retain(|key, _| keep(key));
        self.derived.retain(|key, _| keep(key));
        self.order.retain(|(key, _)| keep(key));
    }

    /// Oldest first.
    fn entries(&self) -> Vec<file::Entry> {
        let entry = |(key, manifest): &(ClosureKey, Digest)| {
            let members = self.repositories.get(key)?.members.get(manifest)?;
            Some((key.clone(), manifest.clone(), members.clone()))
        };
        self.order.iter().filter_map(entry).collect()
    }
}

impl Verified {
    fn remember(&mut self, manifest: &Digest, members: BTreeSet<Digest>) -> Change {
        let known = self.members.get(manifest);
        if known == Some(&members) {
            return Change::None;
        }
        let change = if known.is_some() {
            Change::Replaced
        } else {
            Change::Added
        };
        self.forget(manifest);
        for member in &members {
            self.holders
                .entry(member.clone())
                .or_default()
                .insert(manifest.clone());
        }
        self.members.insert(manifest.clone(), members);
        change
    }

    fn forget(&mut self, manifest: &Digest) {
        for member in self.members.remove(manifest).unwrap_or_default() {
            if let Some(holders) = self.holders.get_mut(&member) {
                holders.remove(manifest);
                if holders.is_empty() {
                    self.holders.remove(&member);
                }
            }
        }
    }
}
