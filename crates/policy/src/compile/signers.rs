//! Signature policies: key files loaded, signers counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::PublicKey;

use crate::document::{At, Place, SignaturePolicyDocument, SignerDocument};
use crate::error::{PolicyError, Problem};
use crate::signature_policy::SignaturePolicy;
use crate::source::PolicySource;

/// Makes one signature policy. With errors it counts fewer signers than it should, and no [`Policy`](crate::Policy) comes of it.
pub(super) fn compile(
    name: &str,
    document: &SignaturePolicyDocument,
    source: &PolicySource,
    errors: &mut Vec<PolicyError>,
) -> (SignaturePolicy, Vec<PublicKey>) {
    check_names(document, errors);
    let mut signers = BTreeMap::new();
    let mut keys = Vec::new();
    for signer in document
        .signers
        .iter()
        .filter(|signer| counts(document, signer))
    {
        let Some(path) = &signer.key_file else {
            continue;
        };
        let Some(key) = load(path, source, errors) else {
            continue;
        };
        let name = &signer.name.value;
        if let Some(other) = signers.insert(key.hash(), Arc::<str>::from(name.as_str())) {
            let problem = Problem::SharedKey {
                name: name.clone(),
                other: other.to_string(),
            };
            errors.push(path.place.clone().error(problem));
        }
        keys.push(key);
    }
    let threshold = threshold(document, errors);
    (
        SignaturePolicy {
            name: name.into(),
            signers,
            threshold,
        },
        keys,
    )
}

fn counts(document: &SignaturePolicyDocument, signer: &SignerDocument) -> bool {
    let named = |from: &Vec<At<String>>| from.iter().any(|name| name.value == signer.name.value);
    document.from.as_ref().is_none_or(named)
}

/// Every name in `from` is a signer, every signer is in `from`, no two signers have one name.
fn check_names(document: &SignaturePolicyDocument, errors: &mut Vec<PolicyError>) {
    let mut first_of: BTreeMap<&str, &Place> = BTreeMap::new();
    for SignerDocument { name, key_file: _ } in &document.signers {
        if let Some(first) = first_of.get(name.value.as_str()) {
            let problem = Problem::DuplicateName {
                name: name.value.clone(),
                first: first.to_string(),
            };
            errors.push(name.place.clone().error(problem));
        } else {
            first_of.insert(&name.value, &name.place);
        }
    }
    for name in document
        .from
        .iter()
        .flatten()
        .filter(|name| !first_of.contains_key(name.value.as_str()))
    {
        errors.push(name.place.clone().error(Problem::NoSuchSigner {
            name: name.value.clone(),
        }));
    }
    for signer in document
        .signers
        .iter()
        .filter(|signer| !counts(document, signer))
    {
        let problem = Problem::UnusedSigner {
            name: signer.name.value.clone(),
        };
        errors.push(signer.name.place.clone().error(problem));
    }
}

fn load(
    file: &At<String>,
    source: &PolicySource,
    errors: &mut Vec<PolicyError>,
) -> Option<PublicKey> {
    let At { place, value: path } = file;
    // Paths are looked up in the map, never on a disk: `..` and absolute paths are simply not there.
    let Some(pem) = source.files.get(path) else {
        errors.push(
            place
                .clone()
                .error(Problem::NoSuchFile { path: path.clone() }),
        );
        return None;
    };
    match PublicKey::from_pem(pem) {
        Ok(key) => Some(key),
        Err(invalid) => {
            let problem = Problem::InvalidKey {
                path: path.clone(),
                message: invalid.to_string(),
            };
            errors.push(place.clone().error(problem));
            None
        }
    }
}

/// One, if the policy says nothing. Between one and the number of signers that count.
fn threshold(document: &SignaturePolicyDocument, errors: &mut Vec<PolicyError>) -> usize {
    let signers = document
        .from
        .as_ref()
        .map_or(document.signers.len(), Vec::len);
    let Some(At { place, value }) = &document.threshold else {
        return DEFAULT_THRESHOLD;
    };
    let usable = usize::try_from(*value)
        .ok()
        .filter(|threshold| (1..=signers).contains(threshold));
    usable.unwrap_or_else(|| {
        errors.push(place.clone().error(Problem::Threshold {
            threshold: *value,
            signers,
        }));
        usize::MAX
    })
}

/// Without `signatures`, any one of the signers suffices.
const DEFAULT_THRESHOLD: usize = 1;
