//! A signed program, and the grants that it meets.

use std::{sync::Arc, time::Duration};

use evidence::{Evidence, binding::Role, digest::Digest};
use identity::{
    private_key::PrivateKey,
    spiffe_id::{SpiffeId, TrustDomain},
};
use policy::PolicySource;

use super::{Grants, InvalidGrants, Reserved};
use crate::config::Infrastructure;

/// A program that a key signed.
pub(crate) struct Signed {
    pub(crate) digest: Digest,
    pub(crate) evidence: Evidence,
    product: String,
    public: String,
}

impl Signed {
    /// Signs a program as a product, with a new key.
    pub(crate) fn program(product: &str) -> Self {
        let key = PrivateKey::generate().unwrap();
        let digest = Digest::sha256_of(b"program");
        let evidence = evidence(&digest, product, &key);
        Self {
            digest,
            evidence,
            product: product.to_owned(),
            public: key.public_key().to_pem(),
        }
    }

    /// The same said by somebody else.
    pub(crate) fn by(&self, key: &PrivateKey) -> Evidence {
        evidence(&self.digest, &self.product, key)
    }
}

fn evidence(digest: &Digest, product: &str, key: &PrivateKey) -> Evidence {
    Evidence::from_json(&kit::signer::sign(digest, product, key).unwrap()).unwrap()
}

/// The grants of [`POLICY`] and of one reserved identity.
pub(crate) fn grants(signed: &Signed) -> Grants {
    join(POLICY, signed, &reserved()).unwrap()
}

pub(super) fn join(
    documents: &str,
    signed: &Signed,
    reserved: &Reserved,
) -> Result<Grants, Vec<InvalidGrants>> {
    let files = [
        ("policy.yaml", documents.as_bytes()),
        ("keys/release.pub", signed.public.as_bytes()),
    ];
    let source: PolicySource = files
        .into_iter()
        .map(|(path, bytes)| (path.to_owned(), bytes.to_vec()))
        .collect();
    Grants::join(Arc::new(policy::compile(&source).unwrap()), reserved)
}

pub(super) fn reserved() -> Reserved {
    let authz = Infrastructure {
        name: "authz-service".to_owned(),
        spiffe_id: SpiffeId::parse("spiffe://acme.test/countersign/authz-service").unwrap(),
        selectors: vec!["unix:uid:901".parse().unwrap()],
        signed_by: "release".to_owned(),
        role: Role::App,
        ttl: Duration::from_hours(1),
        dns_names: Vec::new(),
    };
    Reserved {
        trust_domain: TrustDomain::parse("acme.test").unwrap(),
        infrastructure: vec![authz],
    }
}

pub(super) const POLICY: &str = r#"
apiVersion: countersign.dev/v1alpha1
kind: SignaturePolicy
metadata: { name: release }
spec: { signers: [{ name: key, key: { file: keys/release.pub } }] }
---
apiVersion: countersign.dev/v1alpha1
kind: IdentityGrant
metadata: { name: payments }
spec:
  spiffeId: spiffe://acme.test/ns/pay/sa/payments
  selectors: ["unix:uid:1000"]
  artifact: { signedBy: release, claims: { annotations: { product: payments } } }
"#;
