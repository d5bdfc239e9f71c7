//! Running a program in a scope for the one who asked: what that needs of the rest of the agent, and its three places.

use std::{path::PathBuf, pin::Pin, sync::Arc};

use evidence::binding::Role;
use policy::grant::Selector;

use crate::workload::{Program, Refused, Workload};

pub mod client;
pub mod launcher;
pub mod server;

/// What `exec` asks of the rest of the agent.
pub trait Admission: Send + Sync {
    /// Says under which terms a program may run for a grant: there is such a grant, and the program's evidence meets it now.
    fn admit<'a>(&'a self, grant: &'a str, program: &'a Program) -> Answer<'a, Terms>;

    /// Gives the workload its identity, before anything runs in its scope, and writes its certificate files if a directory is named.
    ///
    /// What was begun ends with the scope: [`crate::workload::Scopes::gone`] tells.
    fn begin(&self, workload: Arc<Workload>, files: Option<PathBuf>) -> Answer<'_, ()>;

    /// Keeps, logs and feeds a refusal, also one that came from `admit` or `begin`. Called once for each refused `exec`.
    fn refuse(&self, refused: Refused);
}

/// What the [`Admission`] port answers.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Refused>> + Send + 'a>>;

/// The terms a program runs under.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The grant's selectors. `unix:uid:N` names the user to run as, `unix:gid:N` the group; without one, the group of the same number.
    pub selectors: Vec<Selector>,
    /// What the workload does in the mesh.
    pub role: Role,
    /// The Workload API socket, named in the program's environment.
    pub socket: PathBuf,
}
