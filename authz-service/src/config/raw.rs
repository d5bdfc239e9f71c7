//! The configuration file as it is written: names, nesting and the values that check themselves.

use std::net::SocketAddr;
use std::path::PathBuf;

use daemon::telemetry::LogFormat;
use identity::spiffe_id::{SpiffeId, TrustDomain};
use policy::pattern::IdentityPattern;
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;
use url::Url;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawConfig {
    pub(super) trust_domain: Parsed<TrustDomain>,
    pub(super) replica: Parsed<Replica>,
    pub(super) directories: RawDirectories,
    pub(super) policy: RawPolicy,
    pub(super) trust_bundles: Spanned<Vec<RawTrustBundle>>,
    pub(super) workload_api: Parsed<WorkloadApi>,
    pub(super) agents: Spanned<Vec<RawAgent>>,
    pub(super) proxies: RawProxies,
    pub(super) listeners: Spanned<RawListeners>,
    pub(super) feed: RawListen,
    pub(super) health: RawListen,
    #[serde(default, deserialize_with = "present")]
    pub(super) registries: Option<Vec<RawRegistry>>,
    pub(super) records: RawRecords,
    #[serde(default, deserialize_with = "present")]
    pub(super) telemetry: Option<RawTelemetry>,
    #[serde(default, deserialize_with = "present")]
    pub(super) logging: Option<RawLogging>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawDirectories {
    pub(super) runtime: Parsed<AbsolutePath>,
    pub(super) state: Parsed<AbsolutePath>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawPolicy {
    pub(super) directory: Parsed<AbsolutePath>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawTrustBundle {
    pub(super) trust_domain: Spanned<Parsed<TrustDomain>>,
    pub(super) file: Parsed<AbsolutePath>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawAgent {
    pub(super) identity: Spanned<Parsed<SpiffeId>>,
    pub(super) may_vouch_for: Spanned<Vec<Parsed<IdentityPattern>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawProxies {
    #[serde(default, deserialize_with = "present")]
    pub(super) identities: Option<Spanned<Vec<Parsed<IdentityPattern>>>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) uids: Option<Spanned<Vec<Parsed<u32>>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawListeners {
    #[serde(default, deserialize_with = "present")]
    pub(super) unix: Option<RawUnix>,
    #[serde(default, deserialize_with = "present")]
    pub(super) tcp: Option<RawListen>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawUnix {
    pub(super) path: Parsed<AbsolutePath>,
    #[serde(default, deserialize_with = "present")]
    pub(super) group: Option<Parsed<u32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawListen {
    pub(super) listen: Parsed<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawRegistry {
    pub(super) host: Spanned<Parsed<RegistryHost>>,
    pub(super) endpoint: Spanned<Parsed<Url>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) ca_file: Option<Parsed<AbsolutePath>>,
    #[serde(default, deserialize_with = "present")]
    pub(super) danger_plain_http: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawRecords {
    pub(super) file: Parsed<AbsolutePath>,
    #[serde(default, deserialize_with = "present")]
    pub(super) max_mebibytes: Option<Spanned<Parsed<u32>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawTelemetry {
    pub(super) otlp: RawOtlp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawOtlp {
    pub(super) endpoint: Parsed<Url>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct RawLogging {
    pub(super) format: LogFormat,
}

/// A string that became a `T` while it was read, so that an error carries its line and column.
#[derive(Debug)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::from_text(&text).map(Self).map_err(de::Error::custom)
    }
}

/// How a value of the file is read from its text.
pub(super) trait FromText: Sized {
    /// The value, or what was expected in its place.
    fn from_text(text: &str) -> Result<Self, String>;
}

impl FromText for TrustDomain {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| format!("`{text}` is not a trust domain: {error}"))
    }
}

impl FromText for SpiffeId {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| format!("`{text}` is not a SPIFFE ID: {error}"))
    }
}

impl FromText for IdentityPattern {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }
}

/// A registry as clients ask for it: a lower-case host name without a port.
#[derive(Debug)]
pub(super) struct RegistryHost(pub(super) String);

impl FromText for RegistryHost {
    fn from_text(text: &str) -> Result<Self, String> {
        let allowed =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if text.is_empty() || !text.chars().all(allowed) {
            return Err(format!(
                "`{text}` is not a registry host; expected a lower-case name without a port"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromText for SocketAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_unparsable| {
            format!("`{text}` is not an address; expected IP:PORT, for example 127.0.0.1:9191")
        })
    }
}

impl FromText for u32 {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_unparsable| format!("`{text}` is not a number; expected 0 to {}", Self::MAX))
    }
}

impl FromText for Url {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| format!("`{text}` is not a URL: {error}"))
    }
}

/// A path that means the same from every working directory.
#[derive(Debug)]
pub(super) struct AbsolutePath(pub(super) PathBuf);

impl FromText for AbsolutePath {
    fn from_text(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err(format!("`{text}` is not an absolute path"))
        }
    }
}

/// The Workload API's address as the `spiffe` crate takes it.
#[derive(Debug)]
pub(super) struct WorkloadApi(pub(super) String);

impl FromText for WorkloadApi {
    fn from_text(text: &str) -> Result<Self, String> {
        if text
            .strip_prefix("unix://")
            .is_some_and(|path| path.starts_with('/'))
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "`{text}` is not a Workload API address; expected unix:///PATH"
            ))
        }
    }
}

/// The name of this replica: it ends every decision id.
#[derive(Debug)]
pub(super) struct Replica(pub(super) String);

impl FromText for Replica {
    fn from_text(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if text.is_empty() || text.len() > MAX_REPLICA_BYTES || !text.chars().all(allowed) {
            return Err(format!(
                "`{text}` is not a replica name; expected 1 to {MAX_REPLICA_BYTES} of a-z, 0-9 and `-`"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// Fits a header value beside the 36 characters of the id itself.
const MAX_REPLICA_BYTES: usize = 64;

/// Refuses a key that is there but blank, which YAML would read as absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
