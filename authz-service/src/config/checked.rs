//! From the file as written to the checked configuration: what one value alone cannot show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use identity::spiffe_id::{SpiffeId, TrustDomain};
use policy::pattern::IdentityPattern;
use serde_saphyr::Spanned;

use super::fault::Faults;
use super::raw::{self, Parsed, RawConfig, RawRegistry};
use super::{CheckUnix, Config, DEFAULT_RECORD_MEBIBYTES, Records, Registry};

pub(super) fn checked(raw: RawConfig, faults: &mut Faults<'_>) -> Config {
    let RawConfig {
        trust_domain,
        replica,
        directories,
        policy,
        trust_bundles,
        workload_api,
        agents,
        proxies,
        listeners,
        feed,
        health,
        registries,
        records,
        telemetry,
        logging,
    } = raw;
    let trust_bundles = checked_bundles(trust_bundles, faults);
    let agents = checked_agents(agents, &trust_bundles, faults);
    let raw::RawProxies { identities, uids } = proxies;
    let proxy_identities = not_empty("proxies.identities", identities, faults);
    let proxy_uids = not_empty("proxies.uids", uids, faults);
    let place = listeners.referenced;
    let raw::RawListeners { unix, tcp } = listeners.value;
    match (&unix, &tcp) {
        (None, None) => faults.add(
            place,
            "no listener for Check: name `unix`, `tcp` or both".to_owned(),
        ),
        (Some(_), _) if proxy_uids.is_empty() => {
            faults.add(
                place,
                "`listeners.unix` needs `proxies.uids`: nobody could ask on the socket".to_owned(),
            );
        }
        (_, Some(_)) if proxy_identities.is_empty() => {
            faults.add(
                place,
                "`listeners.tcp` needs `proxies.identities`: nobody could ask over TCP".to_owned(),
            );
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    Config {
        trust_domain: trust_domain.0,
        replica: replica.0.0,
        runtime: directories.runtime.0.0,
        state: directories.state.0.0,
        policy: policy.directory.0.0,
        trust_bundles,
        workload_api: workload_api.0.0,
        agents,
        proxy_identities: proxy_identities
            .into_iter()
            .map(|Parsed(pattern)| pattern)
            .collect(),
        proxy_uids: proxy_uids.into_iter().map(|Parsed(uid)| uid).collect(),
        check_unix: unix.map(|raw::RawUnix { path, group }| CheckUnix {
            path: path.0.0,
            group: group.map(|Parsed(group)| group),
        }),
        check_tcp: tcp.map(|raw::RawListen { listen }| listen.0),
        feed: feed.listen.0,
        health: health.listen.0,
        registries: checked_registries(registries.unwrap_or_default(), faults),
        records: checked_records(records, faults),
        otlp: telemetry.map(
            |raw::RawTelemetry {
                 otlp: raw::RawOtlp { endpoint },
             }| endpoint.0,
        ),
        log_format: logging
            .map(|raw::RawLogging { format }| format)
            .unwrap_or_default(),
    }
}

fn checked_bundles(
    raw: Spanned<Vec<raw::RawTrustBundle>>,
    faults: &mut Faults<'_>,
) -> BTreeMap<TrustDomain, PathBuf> {
    let mut bundles = BTreeMap::new();
    if raw.value.is_empty() {
        faults.add(
            raw.referenced,
            "`trustBundles` is empty: nobody's certificate could be checked".to_owned(),
        );
    }
    for raw::RawTrustBundle { trust_domain, file } in raw.value {
        let place = trust_domain.referenced;
        let Parsed(name) = trust_domain.value;
        if bundles.insert(name.clone(), file.0.0).is_some() {
            faults.add(place, format!("trust domain `{name}` has two bundles"));
        }
    }
    bundles
}

fn checked_agents(
    raw: Spanned<Vec<raw::RawAgent>>,
    bundles: &BTreeMap<TrustDomain, PathBuf>,
    faults: &mut Faults<'_>,
) -> BTreeMap<SpiffeId, Vec<IdentityPattern>> {
    let mut agents = BTreeMap::new();
    if raw.value.is_empty() {
        faults.add(
            raw.referenced,
            "`agents` is empty: no binding could ever arrive".to_owned(),
        );
    }
    for raw::RawAgent {
        identity,
        may_vouch_for,
    } in raw.value
    {
        let place = identity.referenced;
        let Parsed(name) = identity.value;
        if !bundles.contains_key(name.trust_domain()) {
            faults.add(
                place,
                format!("agent `{name}` is of a trust domain without a bundle"),
            );
        }
        let patterns: Vec<_> = not_empty("mayVouchFor", Some(may_vouch_for), faults);
        let patterns = patterns
            .into_iter()
            .map(|Parsed(pattern)| pattern)
            .collect();
        if agents.insert(name.clone(), patterns).is_some() {
            faults.add(place, format!("agent `{name}` is listed twice"));
        }
    }
    agents
}

fn checked_registries(raw: Vec<RawRegistry>, faults: &mut Faults<'_>) -> Vec<Registry> {
    let mut seen = BTreeSet::new();
    let mut registries = Vec::new();
    for RawRegistry {
        host,
        endpoint,
        ca_file,
        danger_plain_http,
    } in raw
    {
        if !seen.insert(host.value.0.0.clone()) {
            faults.add(
                host.referenced,
                format!("registry `{}` is listed twice", host.value.0.0),
            );
        }
        match (endpoint.value.0.scheme(), danger_plain_http.unwrap_or_default()) {
            ("https", false) | ("http", true) => {}
            ("http", false) => faults.add(
                endpoint.referenced,
                "a registry over plain HTTP needs `dangerPlainHttp: true`: anyone on the way can hide evidence".to_owned(),
            ),
            ("https", true) => {
                faults.add(endpoint.referenced, "`dangerPlainHttp` is set, but the endpoint is https".to_owned());
            }
            (scheme, _) => {
                faults.add(endpoint.referenced, format!("`{scheme}` is not a registry's scheme; expected https"));
            }
        }
        registries.push(Registry {
            host: host.value.0.0,
            endpoint: endpoint.value.0,
            ca_file: ca_file.map(|Parsed(path)| path.0),
        });
    }
    registries
}

fn checked_records(raw: raw::RawRecords, faults: &mut Faults<'_>) -> Records {
    let raw::RawRecords {
        file,
        max_mebibytes,
    } = raw;
    let mebibytes = match max_mebibytes {
        Some(size) if size.value.0 == 0 => {
            faults.add(
                size.referenced,
                "`maxMebibytes` is 0: no record could be kept".to_owned(),
            );
            DEFAULT_RECORD_MEBIBYTES
        }
        Some(size) => size.value.0,
        None => DEFAULT_RECORD_MEBIBYTES,
    };
    Records {
        file: file.0.0,
        max_bytes: u64::from(mebibytes) << 20,
    }
}

fn not_empty<T>(key: &str, list: Option<Spanned<Vec<T>>>, faults: &mut Faults<'_>) -> Vec<T> {
    let Some(list) = list else { return Vec::new() };
    if list.value.is_empty() {
        faults.add(
            list.referenced,
            format!("`{key}` is an empty list; leave the key out or name at least one"),
        );
    }
    list.value
}
