//! The shape of `cert-agent.yaml`, key by key, with the default of each.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use daemon::telemetry::LogFormat;
use evidence::binding::Role;
use identity::spiffe_id::{SpiffeId, TrustDomain};
use policy::grant::{DEFAULT_TTL, MAX_TTL, MIN_TTL, Selector};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    Config, ConfigError, Infrastructure, Replica,
    text::{self, Mistakes, present},
};

/// Reads and checks the text of a file.
pub(super) fn parse(text: &str, file: &Path) -> Result<Config, Vec<ConfigError>> {
    let raw: RawConfig = text::read(text, file).map_err(|error| vec![error])?;
    let mut mistakes = Mistakes::of(file);
    let config = raw.check(&mut mistakes);
    mistakes.finish(config)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawConfig {
    trust_domain: Spanned<String>,
    node: Spanned<String>,
    #[serde(default, deserialize_with = "present")]
    directories: Option<RawDirectories>,
    policy: RawDirectory,
    evidence: RawEvidence,
    issuer: RawIssuer,
    #[serde(default, deserialize_with = "present")]
    infrastructure: Option<Vec<RawInfrastructure>>,
    #[serde(default, deserialize_with = "present")]
    feed: Option<RawFeed>,
    #[serde(default, deserialize_with = "present")]
    health: Option<RawHealth>,
    #[serde(default, deserialize_with = "present")]
    logging: Option<RawLogging>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectories {
    #[serde(default, deserialize_with = "present")]
    runtime: Option<Spanned<PathBuf>>,
    #[serde(default, deserialize_with = "present")]
    state: Option<Spanned<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDirectory {
    directory: Spanned<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvidence {
    directories: Spanned<Vec<Spanned<PathBuf>>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawIssuer {
    embedded_ca: RawDirectory,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RawInfrastructure {
    name: Spanned<String>,
    spiffe_id: Spanned<String>,
    selectors: Spanned<Vec<Spanned<String>>>,
    signed_by: Spanned<String>,
    role: RawRole,
    #[serde(default, deserialize_with = "present")]
    ttl: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "present")]
    dns_names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawRole {
    App,
    Proxy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFeed {
    replicas: Vec<RawReplica>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReplica {
    address: Spanned<String>,
    identity: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHealth {
    listen: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLogging {
    format: LogFormat,
}

impl RawConfig {
    fn check(self, mistakes: &mut Mistakes<'_>) -> Option<Config> {
        let Self {
            trust_domain,
            node,
            directories,
            policy,
            evidence,
            issuer,
            infrastructure,
            feed,
            health,
            logging,
        } = self;
        let domain = mistakes.keep(&trust_domain, TrustDomain::parse(&trust_domain.value));
        let agent = domain
            .as_ref()
            .and_then(|domain| mistakes.keep(&node, agent_id(domain, &node.value)));
        let RawDirectories { runtime, state } = directories.unwrap_or(RawDirectories {
            runtime: None,
            state: None,
        });
        let runtime = directory_or(runtime, DEFAULT_RUNTIME, mistakes);
        let state = directory_or(state, DEFAULT_STATE, mistakes);
        let policy = absolute(policy.directory, mistakes);
        let evidence = evidence.check(mistakes);
        let embedded_ca = absolute(issuer.embedded_ca.directory, mistakes);
        let infrastructure = all(infrastructure.unwrap_or_default(), |raw| {
            raw.check(domain.as_ref(), mistakes)
        });
        let replicas = all(feed.map(|feed| feed.replicas).unwrap_or_default(), |raw| {
            raw.check(mistakes)
        });
        let health = match health {
            Some(health) => mistakes.keep(&health.listen, health.listen.value.parse()),
            None => Some(DEFAULT_HEALTH),
        };
        Some(Config {
            trust_domain: domain?,
            node: node.value,
            agent: agent?,
            runtime: runtime?,
            state: state?,
            policy: policy?,
            evidence: evidence?,
            embedded_ca: embedded_ca?,
            infrastructure: infrastructure?,
            replicas: replicas?,
            health: health?,
            log_format: logging.map_or(LogFormat::Json, |logging| logging.format),
            otlp: None,
        })
    }
}

impl RawEvidence {
    fn check(self, mistakes: &mut Mistakes<'_>) -> Option<Vec<PathBuf>> {
        if self.directories.value.is_empty() {
            mistakes.add(
                &self.directories,
                "at least one directory: without evidence no workload gets an identity".to_owned(),
            );
            return None;
        }
        all(self.directories.value, |directory| {
            absolute(directory, mistakes)
        })
    }
}

impl RawInfrastructure {
    fn check(
        self,
        domain: Option<&TrustDomain>,
        mistakes: &mut Mistakes<'_>,
    ) -> Option<Infrastructure> {
        let Self {
            name,
            spiffe_id,
            selectors,
            signed_by,
            role,
            ttl,
            dns_names,
        } = self;
        let id = mistakes.keep(&spiffe_id, SpiffeId::parse(&spiffe_id.value));
        if let (Some(id), Some(domain)) = (&id, domain)
            && id.trust_domain() != domain
        {
            mistakes.add(
                &spiffe_id,
                format!("`{id}` is not in the trust domain `{domain}`"),
            );
        }
        if selectors.value.is_empty() {
            mistakes.add(
                &selectors,
                "at least one selector, like `unix:uid:901`".to_owned(),
            );
        }
        let name = filled(name, mistakes);
        let signed_by = filled(signed_by, mistakes);
        let ttl = match ttl {
            Some(ttl) => mistakes.keep(&ttl, lifetime(&ttl.value)),
            None => Some(DEFAULT_TTL),
        };
        let selectors = all(selectors.value, |text| {
            mistakes.keep(&text, text.value.parse::<Selector>())
        });
        Some(Infrastructure {
            name: name?,
            spiffe_id: id?,
            selectors: selectors?,
            signed_by: signed_by?,
            role: role.check(),
            ttl: ttl?,
            dns_names: dns_names.unwrap_or_default(),
        })
    }
}

impl RawReplica {
    fn check(self, mistakes: &mut Mistakes<'_>) -> Option<Replica> {
        let Self { address, identity } = self;
        let id = mistakes.keep(&identity, SpiffeId::parse(&identity.value));
        let address = mistakes.keep(&address, text::host_and_port(&address.value));
        Some(Replica {
            address: address?,
            identity: id?,
        })
    }
}

impl RawRole {
    fn check(self) -> Role {
        match self {
            Self::App => Role::App,
            Self::Proxy => Role::Proxy,
        }
    }
}

fn agent_id(domain: &TrustDomain, node: &str) -> Result<SpiffeId, String> {
    if node.contains('/') {
        return Err(format!("`{node}` is not one path segment"));
    }
    SpiffeId::parse(&format!("spiffe://{domain}/countersign/agent/{node}"))
        .map_err(|error| error.to_string())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let ttl = text::duration(text).map_err(|error| error.to_string())?;
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        Ok(ttl)
    } else {
        Err(format!(
            "`{text}` is not between {}s and {}s",
            MIN_TTL.as_secs(),
            MAX_TTL.as_secs()
        ))
    }
}

fn filled(text: Spanned<String>, mistakes: &mut Mistakes<'_>) -> Option<String> {
    if text.value.trim().is_empty() {
        mistakes.add(&text, "must not be empty".to_owned());
        return None;
    }
    Some(text.value)
}

fn directory_or(
    given: Option<Spanned<PathBuf>>,
    default: &str,
    mistakes: &mut Mistakes<'_>,
) -> Option<PathBuf> {
    given.map_or_else(
        || Some(PathBuf::from(default)),
        |given| absolute(given, mistakes),
    )
}

fn absolute(path: Spanned<PathBuf>, mistakes: &mut Mistakes<'_>) -> Option<PathBuf> {
    if path.value.is_absolute() {
        return Some(path.value);
    }
    mistakes.add(
        &path,
        format!("`{}` is not an absolute path", path.value.display()),
    );
    None
}

/// Checks every item, so that every mistake is told, and returns them only when all are good.
fn all<R, T>(raw: Vec<R>, check: impl FnMut(R) -> Option<T>) -> Option<Vec<T>> {
    let checked: Vec<Option<T>> = raw.into_iter().map(check).collect();
    checked.into_iter().collect()
}

/// Sockets live here: a tmpfs on every distribution.
const DEFAULT_RUNTIME: &str = "/run/countersign";
/// The last good policy lives here, over a restart.
const DEFAULT_STATE: &str = "/var/lib/countersign";
/// Health and metrics for this machine only.
const DEFAULT_HEALTH: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9193);
