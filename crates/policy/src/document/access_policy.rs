//! Access policies as they are written.

use evidence::digest::Digest;
use identity::SpkiHash;

use super::decoder::{Decoder, Fields};
use super::node::{At, Node, Place};
use super::requirement::{self, PartOf, RequirementDocument};
use crate::error::Problem;
use crate::pattern::{HostPattern, IdentityPattern, PathPattern};
use crate::rule::{Effect, RegistryAction};

/// A rule whose signature policies have not been looked up.
#[derive(Debug)]
pub(crate) struct RuleDocument {
    pub(crate) name: At<String>,
    pub(crate) effect: Effect,
    pub(crate) from: CallersDocument,
    pub(crate) to: Option<TargetsDocument>,
}

/// The callers of a rule. A list that was left out is empty.
#[derive(Debug, Default)]
pub(crate) struct CallersDocument {
    pub(crate) identities: Vec<IdentityPattern>,
    pub(crate) artifact: Option<RequirementDocument>,
    pub(crate) digests: Vec<Digest>,
    pub(crate) keys: Vec<SpkiHash>,
}

/// The targets of a rule. A list that was left out is empty.
#[derive(Debug)]
pub(crate) enum TargetsDocument {
    Registry {
        hosts: Vec<HostPattern>,
        repositories: Vec<PathPattern>,
        actions: Vec<RegistryAction>,
        artifact: Option<RequirementDocument>,
    },
    Service {
        hosts: Vec<HostPattern>,
        methods: Vec<String>,
        paths: Vec<PathPattern>,
    },
}

pub(super) fn decode(spec: At<Node>, decoder: &mut Decoder<'_>) -> Vec<RuleDocument> {
    let Some(mut fields) = decoder.fields(spec, &["rules"]) else {
        return Vec::new();
    };
    let rules = fields
        .required("rules", decoder)
        .and_then(|node| decoder.list(node));
    rules
        .into_iter()
        .flatten()
        .filter_map(|rule| decode_rule(rule, decoder))
        .collect()
}

fn decode_rule(rule: At<Node>, decoder: &mut Decoder<'_>) -> Option<RuleDocument> {
    let mut fields = decoder.fields(rule, &["name", "effect", "from", "to"])?;
    let name = fields
        .required("name", decoder)
        .and_then(|node| decoder.name(node));
    let effect = match fields.optional("effect") {
        Some(node) => decoder.word(node, EFFECTS).map(|effect| effect.value),
        // An effect that could not be read must not become a permit.
        None => (!fields.has("effect")).then_some(Effect::Permit),
    };
    // What is checked of an effect that could not be read is only what both effects demand.
    let strictness = effect.unwrap_or(Effect::Deny);
    check_presence(&fields, effect, decoder);
    let from = fields
        .optional("from")
        .map(|node| decode_callers(node, strictness, decoder));
    let to_given = fields.has("to");
    let to = fields
        .optional("to")
        .and_then(|node| decode_targets(node, strictness, decoder));
    if to_given && to.is_none() {
        return None;
    }
    Some(RuleDocument {
        name: name?,
        effect: effect?,
        from: from.unwrap_or_default(),
        to,
    })
}

fn check_presence(fields: &Fields, effect: Option<Effect>, decoder: &mut Decoder<'_>) {
    match effect {
        Some(Effect::Permit) => {
            if !fields.has("from") {
                decoder.report(fields.place(), Problem::PermitWithoutArtifact);
                decoder.report(fields.place(), Problem::PermitWithoutIdentities);
            }
            if !fields.has("to") {
                decoder.report(fields.place(), Problem::PermitWithoutTarget);
            }
        }
        Some(Effect::Deny) if !fields.has("from") && !fields.has("to") => {
            decoder.report(fields.place(), Problem::DenyWithoutCondition);
        }
        Some(Effect::Deny) | None => {}
    }
}

fn decode_callers(node: At<Node>, effect: Effect, decoder: &mut Decoder<'_>) -> CallersDocument {
    let keys = ["identities", "artifact", "digests", "keys"];
    let Some(mut fields) = decoder.fields(node, &keys) else {
        return CallersDocument::default();
    };
    if effect == Effect::Permit {
        demand(&fields, "artifact", Problem::PermitWithoutArtifact, decoder);
        demand(
            &fields,
            "identities",
            Problem::PermitWithoutIdentities,
            decoder,
        );
    } else if !keys.iter().any(|key| fields.has(key)) {
        decoder.report(fields.place(), Problem::FromWithoutCondition);
    }
    let artifact = fields.optional("artifact");
    CallersDocument {
        identities: values(
            fields.optional("identities"),
            IdentityPattern::parse,
            decoder,
        ),
        artifact: artifact.and_then(|node| requirement::decode(node, PartOf::Rule, decoder)),
        digests: values(fields.optional("digests"), Digest::parse, decoder),
        keys: values(fields.optional("keys"), SpkiHash::from_hex, decoder),
    }
}

fn decode_targets(
    node: At<Node>,
    effect: Effect,
    decoder: &mut Decoder<'_>,
) -> Option<TargetsDocument> {
    let mut fields = decoder.fields(node, &["registry", "service"])?;
    if fields.has("registry") == fields.has("service") {
        decoder.report(fields.place(), Problem::OneTarget);
    }
    let registry = fields
        .optional("registry")
        .and_then(|node| decode_registry(node, effect, decoder));
    let service = fields
        .optional("service")
        .and_then(|node| decode_service(node, effect, decoder));
    registry.or(service)
}

fn decode_registry(
    node: At<Node>,
    effect: Effect,
    decoder: &mut Decoder<'_>,
) -> Option<TargetsDocument> {
    let mut fields = decoder.fields(node, &["hosts", "repositories", "actions", "artifact"])?;
    demand_lists(
        &fields,
        &["hosts", "repositories", "actions"],
        effect,
        decoder,
    );
    let place = fields.place().clone();
    let artifact_place = fields.key_place("artifact").cloned();
    let artifact_given = fields.has("artifact");
    let hosts = values(fields.optional("hosts"), HostPattern::parse, decoder);
    let repositories = values(
        fields.optional("repositories"),
        PathPattern::repository,
        decoder,
    );
    let actions = values(fields.optional("actions"), parse_action, decoder);
    let artifact = fields
        .optional("artifact")
        .and_then(|node| requirement::decode(node, PartOf::Rule, decoder));
    let pulls = actions.contains(&RegistryAction::Pull);
    check_target_artifact(
        effect,
        pulls,
        artifact_given,
        artifact_place.as_ref().unwrap_or(&place),
        decoder,
    );
    Some(TargetsDocument::Registry {
        hosts,
        repositories,
        actions,
        artifact,
    })
}

fn check_target_artifact(
    effect: Effect,
    pulls: bool,
    given: bool,
    place: &Place,
    decoder: &mut Decoder<'_>,
) {
    match (effect, pulls, given) {
        (Effect::Permit, true, false) => decoder.report(place, Problem::PullWithoutArtifact),
        (Effect::Permit, false, true) => decoder.report(place, Problem::ArtifactWithoutPull),
        (Effect::Deny, _, true) => decoder.report(place, Problem::DenyWithTargetArtifact),
        (Effect::Permit, true, true)
        | (Effect::Permit, false, false)
        | (Effect::Deny, _, false) => {}
    }
}

fn decode_service(
    node: At<Node>,
    effect: Effect,
    decoder: &mut Decoder<'_>,
) -> Option<TargetsDocument> {
    let mut fields = decoder.fields(node, &["hosts", "methods", "paths"])?;
    demand_lists(&fields, &["hosts", "methods", "paths"], effect, decoder);
    Some(TargetsDocument::Service {
        hosts: values(fields.optional("hosts"), HostPattern::parse, decoder),
        methods: values(fields.optional("methods"), parse_method, decoder),
        paths: values(fields.optional("paths"), PathPattern::request_path, decoder),
    })
}

fn demand(fields: &Fields, key: &str, problem: Problem, decoder: &mut Decoder<'_>) {
    if !fields.has(key) {
        decoder.report(fields.place(), problem);
    }
}

fn demand_lists(fields: &Fields, keys: &[&'static str], effect: Effect, decoder: &mut Decoder<'_>) {
    if effect == Effect::Permit {
        for key in keys {
            demand(fields, key, Problem::PermitWithoutList { key }, decoder);
        }
    }
}

fn values<T, E: std::fmt::Display>(
    node: Option<At<Node>>,
    parse: impl Fn(&str) -> Result<T, E>,
    decoder: &mut Decoder<'_>,
) -> Vec<T> {
    let items = node.and_then(|node| decoder.parsed_list(node, parse));
    items.into_iter().flatten().map(|item| item.value).collect()
}

fn parse_action(text: &str) -> Result<RegistryAction, String> {
    let action = RegistryAction::ALL
        .iter()
        .copied()
        .find(|action| action.as_str() == text);
    action.ok_or_else(|| {
        let known: Vec<_> = RegistryAction::ALL
            .iter()
            .map(|action| format!("`{action}`"))
            .collect();
        format!(
            "unknown action `{text}`, expected one of {}",
            known.join(", ")
        )
    })
}

fn parse_method(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if valid {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not an HTTP method in upper case"))
    }
}

const EFFECTS: &[(&str, Effect)] = &[("permit", Effect::Permit), ("deny", Effect::Deny)];
