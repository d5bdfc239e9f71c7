//! A request of an OCI registry: one path, one resource, one action.

use artifact::reference::Reference;
use bytes::Bytes;
use policy::rule::RegistryAction;
use serde::{Deserialize, Serialize};

use super::query::Query;
use super::{Host, malformed, not_canonical, unknown};
use crate::denial::Denial;

mod place;
mod reference_text;
mod resource;

use place::Place;
pub use resource::{Access, Resource};

/// A request of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryRequest {
    /// The registry whose repositories these are: `?ns=` where a mirror is asked for another, else the host that was asked.
    pub host: Host,
    /// The host that was asked.
    pub asked: Host,
    /// What of the registry.
    pub resource: Resource,
    /// What is done to it.
    pub access: Access,
    /// The client's own `Accept`, by which a tag must be resolved. Empty unless the resource is a manifest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<String>,
    /// What follows the `?`, byte for byte: a pinned path keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

impl RegistryRequest {
    /// The action that a rule must permit. `None` for `GET /v2/`, which has no repository to act on.
    pub fn action(&self) -> Option<RegistryAction> {
        match (&self.resource, self.access) {
            (Resource::Base, _) => None,
            (Resource::Tags { .. }, _) => Some(RegistryAction::List),
            (Resource::Referrers { .. }, _) => Some(RegistryAction::Evidence),
            (Resource::Upload { .. } | Resource::Mount { .. }, _)
            | (Resource::Manifest { .. } | Resource::Blob { .. }, Access::Write) => {
                Some(RegistryAction::Push)
            }
            (Resource::Manifest { .. } | Resource::Blob { .. }, Access::Delete) => {
                Some(RegistryAction::Delete)
            }
            (Resource::Manifest { reference, .. }, Access::Read) if names_evidence(reference) => {
                Some(RegistryAction::Evidence)
            }
            (Resource::Manifest { .. } | Resource::Blob { .. }, Access::Read) => {
                Some(RegistryAction::Pull)
            }
        }
    }
}

/// Reads a request under `/v2`.
///
/// # Errors
/// `target-not-canonical` or `target-unknown`; `request-malformed` for an `Accept` that nothing can be resolved by.
pub(super) fn request(
    method: &str,
    asked: Host,
    path: &str,
    query: Option<&str>,
    accept: &[Bytes],
) -> Result<RegistryRequest, Denial> {
    // No name, tag or digest needs an escape, and registries decode them before they route.
    if path.contains('%') {
        return Err(not_canonical("the path of a registry has a percent sign"));
    }
    // Some readers end a parameter there (W3C once said so), and would see one that is none here.
    if query.is_some_and(|query| query.contains(';')) {
        return Err(not_canonical("the query of a registry has a semicolon"));
    }
    let name = path
        .strip_prefix("/v2/")
        .ok_or_else(|| not_canonical("the registry's root is `/v2/`"))?;
    let place = Place::of(name)?;
    let access = place
        .access(method)
        .ok_or_else(|| unknown(format!("{method} is not done to this part of a registry")))?;
    let parsed = Query::parse(query, place.parameters(access)).map_err(unknown)?;
    let host = match parsed.one("ns").map_err(not_canonical)? {
        Some(ns) => {
            Host::without_port(ns).map_err(|invalid| not_canonical(format!("`ns`: {invalid}")))?
        }
        None => asked.clone(),
    };
    let resource = place.resource(&parsed)?;
    let accept = match &resource {
        Resource::Manifest { .. } => media_types(accept)?,
        Resource::Base
        | Resource::Blob { .. }
        | Resource::Tags { .. }
        | Resource::Referrers { .. }
        | Resource::Upload { .. }
        | Resource::Mount { .. } => Vec::new(),
    };
    Ok(RegistryRequest {
        host,
        asked,
        resource,
        access,
        accept,
        query: query.map(str::to_owned),
    })
}

/// Tags under which signatures and attestations are kept: cosign's `sha256-HEX.sig`, `.att`, `.sbom`, and the referrers tag `sha256-HEX`.
fn names_evidence(reference: &Reference) -> bool {
    let Reference::Tag(tag) = reference else {
        return false;
    };
    let tag = tag.as_str();
    let stem = [".sig", ".att", ".sbom"]
        .iter()
        .find_map(|suffix| tag.strip_suffix(suffix))
        .unwrap_or(tag);
    let hex = stem
        .strip_prefix("sha256-")
        .or_else(|| stem.strip_prefix("sha512-"));
    // A SHA-512 tag is cut to the same 64 digits: SPEC(OCI distribution §referrers tag schema).
    hex.is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// Splits every `Accept` into its media ranges, parameters and all.
fn media_types(accept: &[Bytes]) -> Result<Vec<String>, Denial> {
    let mut types = Vec::new();
    for header in accept {
        let text = std::str::from_utf8(header)
            .ok()
            .filter(|text| text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
        let text = text.ok_or_else(|| malformed("the `accept` header is not visible ASCII"))?;
        types.extend(
            text.split(',')
                .map(str::trim)
                .filter(|range| !range.is_empty())
                .map(str::to_owned),
        );
    }
    if types.len() > MAX_MEDIA_TYPES {
        return Err(malformed(format!(
            "the `accept` header has more than {MAX_MEDIA_TYPES} media types"
        )));
    }
    Ok(types)
}

/// Real clients send six.
const MAX_MEDIA_TYPES: usize = 32;
