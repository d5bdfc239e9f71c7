//! Policy documents: text to checked values with their places, every error collected.
//!
//! The text is read into a tree first, and the tree is decoded by hand. Derived decoding would stop at the first error of a
//! document, and would read a key that was left blank as a key that was left out.

mod access_policy;
mod decoder;
mod identity_grant;
mod node;
mod requirement;
mod signature_policy;

pub(crate) use access_policy::{CallersDocument, RuleDocument, TargetsDocument};
pub(crate) use identity_grant::GrantDocument;
pub(crate) use node::{At, Place};
pub(crate) use requirement::RequirementDocument;
pub(crate) use signature_policy::{SignaturePolicyDocument, SignerDocument};

use self::decoder::{Decoder, Fields};
use self::node::Node;
use crate::error::{PolicyError, Problem};
use crate::source::MAX_FILE_BYTES;

/// The documents of a directory, by kind, each in the order of the files.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) signature_policies: Vec<SignaturePolicyDocument>,
    pub(crate) grants: Vec<GrantDocument>,
    pub(crate) access_policies: Vec<AccessPolicyName>,
    pub(crate) rules: Vec<RuleDocument>,
}

/// The name of an access policy; its rules stand on their own.
#[derive(Debug)]
pub(crate) struct AccessPolicyName(pub(crate) At<String>);

impl Documents {
    /// Whether not one document was found, good or bad.
    pub(crate) fn is_empty(&self) -> bool {
        self.signature_policies.is_empty()
            && self.grants.is_empty()
            && self.access_policies.is_empty()
    }

    /// Reads one file. What it can read it keeps, and every error goes to `errors`.
    pub(crate) fn read_file(&mut self, file: &str, bytes: &[u8], errors: &mut Vec<PolicyError>) {
        if bytes.len() > MAX_FILE_BYTES {
            return errors.push(Place::start_of(file).error(Problem::FileTooLarge));
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            return errors.push(Place::start_of(file).error(Problem::NotUtf8));
        };
        for root in node::parse(file, text, errors) {
            self.read_document(root, &mut Decoder::new(errors));
        }
    }

    fn read_document(&mut self, root: At<Node>, decoder: &mut Decoder<'_>) {
        let Some(mut fields) = decoder.fields(root, &["apiVersion", "kind", "metadata", "spec"])
        else {
            return;
        };
        if let Some(version) = fields.required("apiVersion", decoder) {
            decoder.word(version, &[(API_VERSION, ())]);
        }
        let kind_comes_late = fields.key_place("kind") > fields.key_place("spec");
        let kind = fields
            .required("kind", decoder)
            .and_then(|node| decoder.word(node, KINDS));
        let name = read_metadata(&mut fields, decoder);
        let spec = fields.required("spec", decoder);
        if kind_comes_late && let Some(spec) = &spec {
            decoder.report(&spec.place, Problem::KindAfterSpec);
        }
        let (Some(kind), Some(spec)) = (kind, spec) else {
            return;
        };
        self.read_spec(kind.value, name, spec, decoder);
    }

    /// A document without a usable name is read all the same, so that its other errors are found too.
    fn read_spec(
        &mut self,
        kind: DocumentKind,
        name: Option<At<String>>,
        spec: At<Node>,
        decoder: &mut Decoder<'_>,
    ) {
        match kind {
            DocumentKind::SignaturePolicy => {
                self.signature_policies
                    .extend(signature_policy::decode(name, spec, decoder));
            }
            DocumentKind::IdentityGrant => self
                .grants
                .extend(identity_grant::decode(name, spec, decoder)),
            DocumentKind::AccessPolicy => {
                self.access_policies.extend(name.map(AccessPolicyName));
                self.rules.extend(access_policy::decode(spec, decoder));
            }
        }
    }
}

fn read_metadata(fields: &mut Fields, decoder: &mut Decoder<'_>) -> Option<At<String>> {
    let metadata = fields.required("metadata", decoder)?;
    let mut fields = decoder.fields(metadata, &["name"])?;
    let name = fields.required("name", decoder)?;
    decoder.name(name)
}

#[derive(Debug, Clone, Copy)]
enum DocumentKind {
    SignaturePolicy,
    IdentityGrant,
    AccessPolicy,
}

const KINDS: &[(&str, DocumentKind)] = &[
    ("SignaturePolicy", DocumentKind::SignaturePolicy),
    ("IdentityGrant", DocumentKind::IdentityGrant),
    ("AccessPolicy", DocumentKind::AccessPolicy),
];

const API_VERSION: &str = "countersign.dev/v1alpha1";
