//! Requirements as they are written: `artifact: { signedBy, … }`.

use std::collections::BTreeMap;

use evidence::digest::Digest;

use super::decoder::Decoder;
use super::node::{At, Node, Place};
use crate::error::Problem;
use crate::requirement::RequiredClaims;

/// A requirement whose signature policy has not been looked up.
#[derive(Debug)]
pub(crate) struct RequirementDocument {
    pub(crate) signed_by: At<String>,
    pub(crate) claims: RequiredClaims,
    pub(crate) digests: Vec<Digest>,
    pub(crate) any_signed: bool,
}

/// What a requirement is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PartOf {
    /// It must say which artifact, or say `anySigned`.
    Grant,
    /// The rule's other conditions say which.
    Rule,
}

pub(super) fn decode(
    node: At<Node>,
    part_of: PartOf,
    decoder: &mut Decoder<'_>,
) -> Option<RequirementDocument> {
    let mut fields = decoder.fields(node, &["signedBy", "claims", "digests", "anySigned"])?;
    let narrowed = fields.key_place("claims").is_some() || fields.key_place("digests").is_some();
    let narrowing_unusable = !narrowed && (fields.has("claims") || fields.has("digests"));
    let any_place = fields.key_place("anySigned").cloned();
    let signed_by = fields
        .required("signedBy", decoder)
        .and_then(|node| decoder.text(node));
    let claims = fields
        .optional("claims")
        .map(|node| decode_claims(node, decoder))
        .unwrap_or_default();
    let digests = fields
        .optional("digests")
        .and_then(|node| decoder.parsed_list(node, Digest::parse));
    let any_signed = fields
        .optional("anySigned")
        .and_then(|node| decoder.boolean(node));
    let signed_by = signed_by?;
    if let (Some(place), Some(any_signed)) = (&any_place, &any_signed) {
        check_any_signed(place, any_signed.value, part_of, narrowed, decoder);
    } else if part_of == PartOf::Grant && !narrowed && !narrowing_unusable && any_place.is_none() {
        decoder.report(
            fields.place(),
            Problem::AnySignedUnsaid {
                signed_by: signed_by.value.clone(),
            },
        );
    }
    Some(RequirementDocument {
        signed_by,
        claims,
        digests: digests
            .into_iter()
            .flatten()
            .map(|digest| digest.value)
            .collect(),
        any_signed: any_signed.is_some_and(|any| any.value),
    })
}

fn check_any_signed(
    place: &Place,
    any_signed: bool,
    part_of: PartOf,
    narrowed: bool,
    decoder: &mut Decoder<'_>,
) {
    let problem = match (part_of, any_signed, narrowed) {
        (PartOf::Rule, _, _) => Problem::AnySignedInRule,
        (PartOf::Grant, false, _) => Problem::AnySignedFalse,
        (PartOf::Grant, true, true) => Problem::AnySignedContradicted,
        (PartOf::Grant, true, false) => return,
    };
    decoder.report(place, problem);
}

fn decode_claims(node: At<Node>, decoder: &mut Decoder<'_>) -> RequiredClaims {
    let place = node.place.clone();
    let Some(mut fields) = decoder.fields(
        node,
        &["repository", "sourceRepository", "name", "annotations"],
    ) else {
        return RequiredClaims::default();
    };
    if let Some(place) = fields.key_place("sourceRepository") {
        decoder.report(
            place,
            Problem::NotSupportedYet {
                what: "claim `sourceRepository`, which keyless signatures carry",
            },
        );
    }
    if !["repository", "sourceRepository", "name", "annotations"]
        .into_iter()
        .any(|key| fields.has(key))
    {
        decoder.report(&place, Problem::EmptyList);
    }
    let mut text = |key: &str| {
        fields
            .optional(key)
            .and_then(|node| decoder.text(node))
            .map(|text| text.value)
    };
    let (repository, name) = (text("repository"), text("name"));
    let annotations = fields
        .optional("annotations")
        .and_then(|node| decoder.text_map(node));
    RequiredClaims {
        repository,
        name,
        annotations: annotations
            .into_iter()
            .flatten()
            .collect::<BTreeMap<_, _>>(),
    }
}
