//! Signature policies as they are written.

use super::decoder::{Decoder, Fields};
use super::node::{At, Node};
use crate::error::Problem;

/// A signature policy whose files and signers have not been looked up.
#[derive(Debug)]
pub(crate) struct SignaturePolicyDocument {
    /// `None` when the name was refused.
    pub(crate) name: Option<At<String>>,
    pub(crate) signers: Vec<SignerDocument>,
    /// `None`: all of them.
    pub(crate) from: Option<Vec<At<String>>>,
    /// `None`: one.
    pub(crate) threshold: Option<At<u64>>,
}

/// A signer with the path of its key. One without a path has been reported; its name is kept, so that references hold.
#[derive(Debug)]
pub(crate) struct SignerDocument {
    pub(crate) name: At<String>,
    pub(crate) key_file: Option<At<String>>,
}

pub(super) fn decode(
    name: Option<At<String>>,
    spec: At<Node>,
    decoder: &mut Decoder<'_>,
) -> Option<SignaturePolicyDocument> {
    let mut fields = decoder.fields(
        spec,
        &["signers", "signatures", "signedAfter", "attestations"],
    )?;
    refuse_unsupported(&fields, decoder);
    let signers = fields
        .required("signers", decoder)
        .and_then(|node| decoder.list(node));
    let signers: Vec<_> = signers
        .into_iter()
        .flatten()
        .filter_map(|signer| decode_signer(signer, decoder))
        .collect();
    let counted = fields
        .optional("signatures")
        .and_then(|node| decode_signatures(node, decoder));
    let (from, threshold) = counted.unwrap_or_default();
    Some(SignaturePolicyDocument {
        name,
        signers,
        from,
        threshold,
    })
}

fn decode_signer(signer: At<Node>, decoder: &mut Decoder<'_>) -> Option<SignerDocument> {
    let mut fields = decoder.fields(signer, &["name", "key", "keyless"])?;
    let name = fields
        .required("name", decoder)
        .and_then(|node| decoder.name(node));
    let keyless = fields.key_place("keyless").cloned();
    if let Some(place) = &keyless {
        let what = "keyless signers";
        decoder.report(place, Problem::NotSupportedYet { what });
    }
    let key = match keyless {
        Some(_) => fields.optional("key"),
        None => fields.required("key", decoder),
    };
    Some(SignerDocument {
        name: name?,
        key_file: key.and_then(|key| decode_key_file(key, decoder)),
    })
}

fn decode_key_file(key: At<Node>, decoder: &mut Decoder<'_>) -> Option<At<String>> {
    let file = decoder.fields(key, &["file"])?.required("file", decoder)?;
    decoder.text(file)
}

type Counted = (Option<Vec<At<String>>>, Option<At<u64>>);

fn decode_signatures(node: At<Node>, decoder: &mut Decoder<'_>) -> Option<Counted> {
    let mut fields = decoder.fields(node, &["from", "threshold"])?;
    let from = fields.required("from", decoder);
    let from = from.and_then(|node| {
        decoder.parsed_list(node, |name| {
            Ok::<_, std::convert::Infallible>(name.to_owned())
        })
    });
    let threshold = fields
        .required("threshold", decoder)
        .and_then(|node| decoder.integer(node));
    Some((from, threshold))
}

fn refuse_unsupported(fields: &Fields, decoder: &mut Decoder<'_>) {
    for (key, what) in [
        ("signedAfter", "`signedAfter`"),
        ("attestations", "`attestations`"),
    ] {
        if let Some(place) = fields.key_place(key) {
            decoder.report(place, Problem::NotSupportedYet { what });
        }
    }
}
