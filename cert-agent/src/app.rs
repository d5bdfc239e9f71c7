//! Builds the agent from its configuration, binds its sockets, and serves until it is stopped.

mod addresses;
mod serve;

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use artifact::DirectorySource;
use daemon::{
    Lifecycle, Readiness,
    clock::Clock,
    health::BoundHealth,
    metrics::Registry,
    unix_socket::{self, SocketError},
};
use tokio::net::UnixListener;

pub use self::{addresses::Addresses, serve::Running};
use crate::{
    config::Config,
    descriptors,
    feed::{Feed, OwnIdentity},
    grants::Reserved,
    issuer::{
        IssueError, Issuer,
        embedded_ca::{EmbeddedCa, directory::Directory, error::CaError},
    },
    judge::Judge,
    metrics::Metrics,
    policy_directory::{PolicyDirectory, PolicyFailure},
    refusals::Refusals,
    rotation::{Attestor, Parts, Rotation},
    workload::{CgroupError, Scopes, ScopesConfig},
};

/// Everything that was opened and bound; nothing is served yet.
#[derive(Debug)]
pub struct Agent {
    config: Config,
    clock: Arc<dyn Clock>,
    lifecycle: Lifecycle,
    readiness: Readiness,
    registry: Registry,
    metrics: Metrics,
    ca: Arc<EmbeddedCa>,
    policy: PolicyDirectory,
    own: OwnIdentity,
    scopes: Scopes,
    judge: Judge,
    feed: Feed,
    refusals: Refusals,
    rotation: Rotation,
    socket: UnixListener,
    admin_socket: UnixListener,
    health: BoundHealth,
    /// How many this process may have open.
    descriptors: u64,
}

/// What a test may put in place of the real thing.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where scopes are made.
    pub scopes: ScopesConfig,
}

impl Surroundings {
    /// The real ones.
    pub fn of(config: &Config) -> Self {
        Self {
            clock: daemon::SystemClock::shared(),
            scopes: ScopesConfig::for_runtime(&config.runtime),
        }
    }
}

impl Agent {
    /// Opens and binds everything the agent needs. What fails here fails before anyone was served.
    ///
    /// # Errors
    /// The first thing that cannot be opened or bound.
    pub async fn bind(config: Config, surroundings: Surroundings) -> Result<Self, StartError> {
        let Surroundings { clock, scopes } = surroundings;
        directory(&config.runtime, 0o755)?;
        directory(&config.state, 0o700)?;
        let registry = Registry::new();
        let metrics = Metrics::new(&registry);
        let lifecycle = Lifecycle::new();
        let reserved = Reserved {
            trust_domain: config.trust_domain.clone(),
            infrastructure: config.infrastructure.clone(),
        };
        let policy =
            PolicyDirectory::open(&config.policy, &config.state, reserved, metrics.clone()).await?;
        let ca = EmbeddedCa::open(
            Directory::at(&config.embedded_ca),
            config.trust_domain.clone(),
            Arc::clone(&clock),
            metrics.clone(),
        )?;
        let ca = Arc::new(ca);
        let issuer: Arc<dyn Issuer> = Arc::<EmbeddedCa>::clone(&ca);
        let source = Arc::new(DirectorySource::new(config.evidence.clone()));
        // Scopes note the limit that programs are to get; only then is the agent's own raised.
        let scopes = Scopes::open(scopes, Arc::clone(&clock))?;
        let descriptors =
            descriptors::raise_limit().map_err(|source| StartError::Descriptors { source })?;
        let feed = Feed::new(metrics.clone());
        let own = OwnIdentity::new(
            config.agent.clone(),
            Arc::clone(&issuer),
            feed.clone(),
            Arc::clone(&clock),
        )
        .await?;
        let judge = Judge::new(policy.grants(), source, Arc::clone(&clock));
        let refusals = Refusals::new(
            config.agent.clone(),
            feed.clone(),
            Arc::clone(&clock),
            metrics.clone(),
        );
        let attestor: Arc<dyn Attestor> = Arc::new(scopes.clone());
        let parts = Parts {
            node: config.agent.clone(),
            issuer,
            judge: judge.clone(),
            attestor,
            feed: feed.clone(),
            refusals: refusals.clone(),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
        };
        let rotation = Rotation::new(parts, lifecycle.clone());
        // Attestation is the guard of the first, the mode that of the second.
        let socket = unix_socket::bind(&config.socket(), 0o666, None)?;
        let admin_socket = unix_socket::bind(&config.admin_socket(), 0o600, None)?;
        let health = BoundHealth::bind(config.health)
            .await
            .map_err(|source| StartError::Health { source })?;
        let readiness = Readiness::new();
        Ok(Self {
            config,
            clock,
            lifecycle,
            readiness,
            registry,
            metrics,
            ca,
            policy,
            own,
            scopes,
            judge,
            feed,
            refusals,
            rotation,
            socket,
            admin_socket,
            health,
            descriptors,
        })
    }
}

/// Keeps other processes of any uid from reading this one's memory, and the system from writing it to a core file.
///
/// # Errors
/// The kernel refused; then no key may be loaded.
pub fn harden() -> Result<(), StartError> {
    nix::sys::prctl::set_dumpable(false).map_err(|errno| StartError::Dumpable {
        source: errno.into(),
    })
}

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process could be read by others.
    #[error("the process cannot be made undumpable")]
    Dumpable {
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The limit of open descriptors cannot be raised.
    #[error("the limit of open descriptors cannot be raised to what the system allows")]
    Descriptors {
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// A directory cannot be made.
    #[error("directory `{path}` cannot be made")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The policy directory is broken, and nothing was ever good.
    #[error(transparent)]
    Policy(#[from] PolicyFailure),
    /// The embedded CA cannot sign.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The reflection service cannot be made.
    #[error("gRPC reflection cannot be served")]
    Reflection {
        /// What is wrong with our descriptors.
        #[source]
        source: tonic_reflection::server::Error,
    },
    /// Scopes cannot be made.
    #[error(transparent)]
    Scopes(#[from] CgroupError),
    /// The issuer gives the agent no identity.
    #[error(transparent)]
    Own(#[from] IssueError),
    /// A socket cannot be bound.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The health address cannot be bound.
    #[error("the health address cannot be bound")]
    Health {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Signals cannot be awaited.
    #[error("signals cannot be awaited")]
    Signals {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// `addresses.json` cannot be written.
    #[error("`addresses.json` cannot be written")]
    Addresses {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Makes a directory with exactly this mode, whatever the umask; one that is there stays as it is.
fn directory(path: &Path, mode: u32) -> Result<(), StartError> {
    let failed = |source| StartError::Directory {
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(failed)?;
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)
}
