//! From the files of a policy directory to a [`Policy`], or to every error in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use evidence::signer::SignerSet;
use identity::PublicKey;

use crate::document::{
    At, CallersDocument, Documents, GrantDocument, Place, RequirementDocument, RuleDocument,
    TargetsDocument,
};
use crate::error::{PolicyError, PolicyErrors, Problem};
use crate::grant::Grant;
use crate::policy::Policy;
use crate::requirement::Requirement;
use crate::rule::{AccessRule, Callers, Targets};
use crate::signature_policy::SignaturePolicy;
use crate::source::{MAX_FILES, PolicySource};

mod reachability;
mod signers;

/// Compiles a whole policy directory.
///
/// 1. Every document is read; what can be read of a broken one is read too.
/// 2. Key files are loaded, signature policies made.
/// 3. Grants and rules are bound to signature policies by name.
/// 4. Names must be unique, and every rule must be able to apply.
///
/// # Errors
/// Every error that was found, each at its file, line and column. With one error there is no policy.
pub fn compile(source: &PolicySource) -> Result<Policy, PolicyErrors> {
    let mut errors = Vec::new();
    let documents = read(source, &mut errors);
    check_names(&documents, &mut errors);
    let (signature_policies, keys) = signature_policies(&documents, source, &mut errors);
    let mut binder = Binder {
        signature_policies: &signature_policies,
        errors: &mut errors,
    };
    let grants: Vec<_> = documents
        .grants
        .into_iter()
        .filter_map(|grant| binder.grant(grant))
        .collect();
    let rules: Vec<_> = documents
        .rules
        .into_iter()
        .filter_map(|rule| binder.rule(rule))
        .collect();
    if errors.is_empty() {
        // Only whole rules can be compared: a list that was refused would look like a missing condition.
        reachability::check(&rules, &mut errors);
    }
    match PolicyErrors::from_found(errors) {
        Some(errors) => Err(errors),
        None => Ok(Policy {
            hash: source.hash(),
            signers: SignerSet::new(keys),
            signature_policies,
            grants,
            rules: rules.into_iter().map(|rule| rule.value).collect(),
        }),
    }
}

fn read(source: &PolicySource, errors: &mut Vec<PolicyError>) -> Documents {
    let mut documents = Documents::default();
    if source.files.len() > MAX_FILES {
        errors.push(Place::start_of(DIRECTORY).error(Problem::TooManyFiles));
        return documents;
    }
    for (file, bytes) in source.files.iter().filter(|(file, _)| is_document(file)) {
        documents.read_file(file, bytes, errors);
    }
    if documents.is_empty() && errors.is_empty() {
        errors.push(Place::start_of(DIRECTORY).error(Problem::NoDocuments));
    }
    documents
}

fn is_document(file: &str) -> bool {
    [".yaml", ".yml"]
        .iter()
        .any(|ending| file.ends_with(ending))
}

fn check_names(documents: &Documents, errors: &mut Vec<PolicyError>) {
    let policies = documents
        .signature_policies
        .iter()
        .filter_map(|policy| policy.name.as_ref());
    unique(policies, errors);
    unique(documents.grants.iter().map(|grant| &grant.name), errors);
    unique(documents.access_policies.iter().map(|name| &name.0), errors);
    unique(documents.rules.iter().map(|rule| &rule.name), errors);
}

fn unique<'a>(names: impl Iterator<Item = &'a At<String>>, errors: &mut Vec<PolicyError>) {
    let mut first_of: BTreeMap<&str, &Place> = BTreeMap::new();
    for name in names {
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
}

type SignaturePolicies = BTreeMap<String, Arc<SignaturePolicy>>;

/// A policy that has errors of its own still gets its name, so that references to it are not errors too.
fn signature_policies(
    documents: &Documents,
    source: &PolicySource,
    errors: &mut Vec<PolicyError>,
) -> (SignaturePolicies, Vec<PublicKey>) {
    let mut policies = BTreeMap::new();
    let mut keys = Vec::new();
    for document in &documents.signature_policies {
        let name = document.name.as_ref().map_or("", |name| &name.value);
        let (policy, own_keys) = signers::compile(name, document, source, errors);
        policies
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(policy));
        keys.extend(own_keys);
    }
    (policies, keys)
}

/// Looks up what documents refer to by name.
struct Binder<'a> {
    signature_policies: &'a SignaturePolicies,
    errors: &'a mut Vec<PolicyError>,
}

impl Binder<'_> {
    fn grant(&mut self, document: GrantDocument) -> Option<Grant> {
        let GrantDocument {
            name,
            spiffe_id,
            selectors,
            artifact,
            svid,
            contact,
        } = document;
        Some(Grant {
            name: name.value.into(),
            spiffe_id,
            selectors,
            artifact: self.requirement(artifact)?,
            ttl: svid.ttl,
            dns_names: svid.dns_names,
            hint: svid.hint,
            contact,
        })
    }

    fn rule(&mut self, document: RuleDocument) -> Option<At<AccessRule>> {
        let RuleDocument {
            name,
            effect,
            from,
            to,
        } = document;
        let from = self.callers(from);
        let to = match to {
            Some(targets) => Some(self.targets(targets)?),
            None => None,
        };
        let from = from?;
        Some(At {
            place: name.place,
            value: AccessRule {
                name: name.value.into(),
                effect,
                from,
                to,
            },
        })
    }

    fn callers(&mut self, document: CallersDocument) -> Option<Callers> {
        let CallersDocument {
            identities,
            artifact,
            digests,
            keys,
        } = document;
        let artifact = self.bound(artifact).ok()?;
        Some(Callers {
            identities,
            artifact,
            digests,
            keys,
        })
    }

    fn targets(&mut self, document: TargetsDocument) -> Option<Targets> {
        Some(match document {
            TargetsDocument::Registry {
                hosts,
                repositories,
                actions,
                artifact,
            } => Targets::Registry {
                hosts,
                repositories,
                actions,
                artifact: self.bound(artifact).ok()?,
            },
            TargetsDocument::Service {
                hosts,
                methods,
                paths,
            } => Targets::Service {
                hosts,
                methods,
                paths,
            },
        })
    }

    /// A requirement that could not be bound must not become no requirement, so it is an error here.
    fn bound(
        &mut self,
        document: Option<RequirementDocument>,
    ) -> Result<Option<Requirement>, Unbound> {
        let Some(document) = document else {
            return Ok(None);
        };
        self.requirement(document).map(Some).ok_or(Unbound)
    }

    fn requirement(&mut self, document: RequirementDocument) -> Option<Requirement> {
        let RequirementDocument {
            signed_by,
            claims,
            digests,
            any_signed,
        } = document;
        let At { place, value: name } = signed_by;
        let Some(policy) = self.signature_policies.get(&name) else {
            self.errors
                .push(place.error(Problem::NoSuchSignaturePolicy { name }));
            return None;
        };
        Some(Requirement {
            signed_by: Arc::clone(policy),
            claims,
            digests,
            any_signed,
        })
    }
}

/// A requirement refers to nothing; reported already.
struct Unbound;

/// The directory itself, as the file of an error.
const DIRECTORY: &str = ".";

#[cfg(test)]
mod tests;
