//! The configuration of one cert-agent: read once, checked, and the only thing that knows the file.

mod raw;
mod text;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use daemon::telemetry::LogFormat;
use evidence::binding::Role;
use identity::spiffe_id::{SpiffeId, TrustDomain};
use policy::grant::Selector;

pub use self::text::ConfigError;

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The trust domain the agent issues in.
    pub trust_domain: TrustDomain,
    /// The name of this node, the last segment of the agent's own SPIFFE ID.
    pub node: String,
    /// The agent's own SPIFFE ID.
    pub agent: SpiffeId,
    /// Where the sockets and `addresses.json` are.
    pub runtime: PathBuf,
    /// Where the last good policy is kept.
    pub state: PathBuf,
    /// The policy directory, the same as authz-service's.
    pub policy: PathBuf,
    /// Root-owned directories with evidence by digest.
    pub evidence: Vec<PathBuf>,
    /// The directory of the embedded CA.
    pub embedded_ca: PathBuf,
    /// Grants of reserved identities.
    pub infrastructure: Vec<Infrastructure>,
    /// The replicas that are told of bindings.
    pub replicas: Vec<Replica>,
    /// Where health and metrics are served, read-only.
    pub health: SocketAddr,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// Where traces and metrics are exported, from the `OTEL_EXPORTER_OTLP_ENDPOINT` variable.
    pub otlp: Option<String>,
}

/// The grant of one reserved identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Infrastructure {
    /// Unique name, as in `cert-agent exec --grant`.
    pub name: String,
    /// The reserved identity.
    pub spiffe_id: SpiffeId,
    /// What its workload shows.
    pub selectors: Vec<Selector>,
    /// The signature policy its program must meet.
    pub signed_by: String,
    /// What it does in the mesh.
    pub role: Role,
    /// The lifetime of its SVIDs.
    pub ttl: Duration,
    /// DNS names of its certificate.
    pub dns_names: Vec<String>,
}

/// One authz-service replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// `host:port` of its feed.
    pub address: String,
    /// Who must answer there.
    pub identity: SpiffeId,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Every mistake found, with file, line and column.
    pub fn read(path: &Path) -> Result<Self, Vec<ConfigError>> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| vec![ConfigError::unreadable(path, &error)])?;
        let mut config = Self::parse(&text, path)?;
        config.otlp = std_env("OTEL_EXPORTER_OTLP_ENDPOINT");
        Ok(config)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// Every mistake found, with file, line and column.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Vec<ConfigError>> {
        raw::parse(text, path)
    }

    /// The socket of the Workload API and SDS.
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("agent.sock")
    }

    /// The socket of operators.
    pub fn admin_socket(&self) -> PathBuf {
        self.runtime.join("agent-admin.sock")
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
fn std_env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Where the configuration is looked for when no `--config` is given.
pub const DEFAULT_PATH: &str = "/etc/countersign/cert-agent.yaml";

#[cfg(test)]
mod tests;
