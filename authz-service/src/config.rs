//! The configuration: the file, read once, as checked values.

mod checked;
mod fault;
mod raw;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use daemon::telemetry::LogFormat;
use identity::spiffe_id::{SpiffeId, TrustDomain};
use policy::pattern::IdentityPattern;
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Options, UserMessageFormatter};
use url::Url;

pub use fault::{ConfigError, ConfigErrors};

use fault::Faults;
use raw::RawConfig;

/// Where the configuration is looked for when nothing else is said: the directory that packages own.
pub const DEFAULT_CONFIG: &str = "/etc/countersign/authz-service.yaml";

/// 64 MiB for the newest records // some 60 000 decisions, and one older file of the same size is kept.
pub const DEFAULT_RECORD_MEBIBYTES: u32 = 64;

/// Everything an operator says about one replica.
#[derive(Clone, Debug)]
pub struct Config {
    /// The trust domain of this replica's own certificate.
    pub trust_domain: TrustDomain,
    /// Names the replica at the end of every decision id.
    pub replica: String,
    /// Sockets and `addresses.json`.
    pub runtime: PathBuf,
    /// What must outlive a restart: closures and the last good policy.
    pub state: PathBuf,
    /// The policy directory, read whole.
    pub policy: PathBuf,
    /// The operator's roots, a PEM file for each trust domain.
    pub trust_bundles: BTreeMap<TrustDomain, PathBuf>,
    /// The Workload API that gives this replica its own certificate.
    pub workload_api: String,
    /// The roster: agents whose feed is believed, and for which identities.
    pub agents: BTreeMap<SpiffeId, Vec<IdentityPattern>>,
    /// Who may ask over mTLS.
    pub proxy_identities: Vec<IdentityPattern>,
    /// Who may ask on the unix socket.
    pub proxy_uids: BTreeSet<u32>,
    /// The Check listener on a unix socket.
    pub check_unix: Option<CheckUnix>,
    /// The Check listener on mTLS TCP.
    pub check_tcp: Option<SocketAddr>,
    /// The feed's listener.
    pub feed: SocketAddr,
    /// Health and metrics.
    pub health: SocketAddr,
    /// The registries that may be asked.
    pub registries: Vec<Registry>,
    /// The record file.
    pub records: Records,
    /// Where spans go.
    pub otlp: Option<Url>,
    /// How the log is written.
    pub log_format: LogFormat,
}

/// The Check listener on a unix socket, mode 0660.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckUnix {
    /// The socket.
    pub path: PathBuf,
    /// The group that may open it; the process's own when absent.
    pub group: Option<u32>,
}

/// One registry that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    /// The host that clients ask for, without a port.
    pub host: String,
    /// The registry's own address, never the gate's.
    pub endpoint: Url,
    /// Roots for its certificate.
    pub ca_file: Option<PathBuf>,
}

/// The record file and its bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// One JSON document a line.
    pub file: PathBuf,
    /// The file is set aside at this size, and one older file is kept.
    pub max_bytes: u64,
}

impl Config {
    /// Reads the configuration file.
    ///
    /// # Errors
    /// Everything wrong with it, with file, line and column.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            Faults::new(file).only(None, format!("the file cannot be read: {error}"))
        })?;
        Self::parse(file, &text)
    }

    /// Reads the configuration from text; `file` is used in messages only.
    ///
    /// # Errors
    /// As for [`Config::load`].
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigErrors> {
        let raw: RawConfig =
            serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
                let message = error
                    .without_snippet()
                    .render_with_formatter(&UserMessageFormatter);
                Faults::new(file).only(error.location(), without_position(&message))
            })?;
        let mut faults = Faults::new(file);
        let config = checked::checked(raw, &mut faults);
        faults.none_or(config)
    }

    /// Where operators ask.
    pub fn admin_socket(&self) -> PathBuf {
        self.runtime.join("authz-admin.sock")
    }

    /// Where spans go: the configuration's address, or the environment's `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn otlp_endpoint(&self) -> Option<String> {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the file that reads the environment"
        )]
        let environment = || {
            std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT")
                .ok()
                .filter(|endpoint| !endpoint.is_empty())
        };
        self.otlp
            .as_ref()
            .map(ToString::to_string)
            .or_else(environment)
    }

    /// Settings that weaken a check, for the warning at every start.
    pub fn dangers(&self) -> Vec<String> {
        let plain = self
            .registries
            .iter()
            .filter(|registry| registry.endpoint.scheme() == "http");
        plain
            .map(|registry| format!("registries.dangerPlainHttp: {}", registry.host))
            .collect()
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// The parser ends its messages with the position, which our own prefix already gives.
fn without_position(message: &str) -> String {
    message
        .split_once(" at line ")
        .map_or(message, |(before, _)| before)
        .to_owned()
}

#[cfg(test)]
mod tests;
