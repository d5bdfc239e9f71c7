//! Identity grants as they are written.

use std::time::Duration;

use identity::SpiffeId;

use super::decoder::Decoder;
use super::node::{At, Node};
use super::requirement::{self, PartOf, RequirementDocument};
use crate::error::Problem;
use crate::grant::{DEFAULT_TTL, InvalidSelector, MAX_TTL, MIN_TTL, Selector};
use crate::pattern::is_dns_name;

/// A grant whose signature policy has not been looked up.
#[derive(Debug)]
pub(crate) struct GrantDocument {
    pub(crate) name: At<String>,
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) selectors: Vec<Selector>,
    pub(crate) artifact: RequirementDocument,
    pub(crate) svid: SvidDocument,
    pub(crate) contact: Option<String>,
}

/// How the SVID is to be.
#[derive(Debug)]
pub(crate) struct SvidDocument {
    pub(crate) ttl: Duration,
    pub(crate) dns_names: Vec<String>,
    pub(crate) hint: Option<String>,
}

pub(super) fn decode(
    name: Option<At<String>>,
    spec: At<Node>,
    decoder: &mut Decoder<'_>,
) -> Option<GrantDocument> {
    let mut fields = decoder.fields(
        spec,
        &["spiffeId", "selectors", "artifact", "svid", "contact"],
    )?;
    let spiffe_id = fields
        .required("spiffeId", decoder)
        .and_then(|node| decode_spiffe_id(node, decoder));
    let selectors = fields.required("selectors", decoder);
    let selectors =
        selectors.and_then(|node| decoder.parsed_list::<_, InvalidSelector>(node, Selector::parse));
    let artifact = fields.required("artifact", decoder);
    let artifact = artifact.and_then(|node| requirement::decode(node, PartOf::Grant, decoder));
    let svid = fields
        .optional("svid")
        .map_or_else(SvidDocument::default, |node| decode_svid(node, decoder));
    let contact = fields
        .optional("contact")
        .and_then(|node| decoder.text(node));
    Some(GrantDocument {
        name: name?,
        spiffe_id: spiffe_id?,
        selectors: selectors?
            .into_iter()
            .map(|selector| selector.value)
            .collect(),
        artifact: artifact?,
        svid,
        contact: contact.map(|text| text.value),
    })
}

fn decode_spiffe_id(node: At<Node>, decoder: &mut Decoder<'_>) -> Option<SpiffeId> {
    let text = decoder.text(node)?;
    if text.value.contains('{') {
        decoder.report(
            &text.place,
            Problem::NotSupportedYet {
                what: "templates in `spiffeId`",
            },
        );
        return None;
    }
    let id = decoder.parse_text(&text, SpiffeId::parse)?.value;
    if id.segments().next() == Some(RESERVED_SEGMENT) {
        decoder.report(
            &text.place,
            Problem::ReservedIdentity {
                spiffe_id: text.value,
            },
        );
        return None;
    }
    Some(id)
}

fn decode_svid(node: At<Node>, decoder: &mut Decoder<'_>) -> SvidDocument {
    let mut svid = SvidDocument::default();
    let Some(mut fields) = decoder.fields(node, &["ttl", "dnsNames", "hint"]) else {
        return svid;
    };
    if let Some(ttl) = fields
        .optional("ttl")
        .and_then(|node| decode_ttl(node, decoder))
    {
        svid.ttl = ttl;
    }
    let dns_names = fields
        .optional("dnsNames")
        .and_then(|node| decoder.parsed_list(node, parse_dns_name));
    svid.dns_names = dns_names
        .into_iter()
        .flatten()
        .map(|name| name.value)
        .collect();
    svid.hint = fields
        .optional("hint")
        .and_then(|node| decoder.text(node))
        .map(|text| text.value);
    svid
}

impl Default for SvidDocument {
    fn default() -> Self {
        Self {
            ttl: DEFAULT_TTL,
            dns_names: Vec::new(),
            hint: None,
        }
    }
}

fn decode_ttl(node: At<Node>, decoder: &mut Decoder<'_>) -> Option<Duration> {
    let ttl = decoder.parsed(node, parse_duration)?;
    if (MIN_TTL..=MAX_TTL).contains(&ttl.value) {
        return Some(ttl.value);
    }
    decoder.report(&ttl.place, Problem::TtlOutOfRange);
    None
}

/// A whole number and one unit: `90s`, `30m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not a duration such as `90s`, `30m` or `1h`");
    let split = text
        .len()
        .checked_sub(1)
        .and_then(|at| text.split_at_checked(at));
    let (digits, unit) = split.ok_or_else(invalid)?;
    let seconds_of_unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        _ => return Err(invalid()),
    };
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<u64>().ok().filter(|_| only_digits);
    count
        .and_then(|count| count.checked_mul(seconds_of_unit))
        .map(Duration::from_secs)
        .ok_or_else(invalid)
}

fn parse_dns_name(text: &str) -> Result<String, String> {
    if is_dns_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a DNS name in lower case"))
    }
}

const RESERVED_SEGMENT: &str = "countersign";
