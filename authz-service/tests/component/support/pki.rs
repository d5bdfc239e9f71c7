//! A root, an intermediate below it, and SVIDs of any identity.

use std::time::Duration;

use evidence::Digest;
use evidence::Evidence;
use evidence::dsse::Envelope;
use evidence::statement::{PAYLOAD_TYPE, Statement};
use identity::PrivateKey;
use identity::public_key::SpkiHash;
use identity::spiffe_id::{SpiffeId, TrustDomain};
use identity::trust_bundle::TrustBundle;
use identity::x509_svid::chain_to_pem;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::now;

pub const TRUST_DOMAIN: &str = "acme.test";
pub const AGENT: &str = "spiffe://acme.test/countersign/agent/node-1";
pub const AUTHZ: &str = "spiffe://acme.test/countersign/authz-service";
pub const FRONTEND: &str = "spiffe://acme.test/ns/web/sa/frontend";
pub const PULLER: &str = "spiffe://acme.test/ns/ops/sa/puller";

const HOUR: Duration = Duration::from_hours(1);

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

/// An issuing authority below a root.
pub struct Pki {
    pub root: CertificateDer<'static>,
    pub intermediate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Svid {
    pub leaf: CertificateDer<'static>,
    pub intermediate: CertificateDer<'static>,
    pub key: PrivateKey,
}

impl Pki {
    pub fn new() -> Self {
        let root_key = KeyPair::generate().unwrap();
        let root_params = authority("root");
        let root = root_params.self_signed(&root_key).unwrap().der().clone();
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate().unwrap();
        let params = authority("intermediate");
        let intermediate = params.signed_by(&key, &root_issuer).unwrap().der().clone();
        Self {
            root,
            intermediate,
            issuer: Issuer::new(params, key),
        }
    }

    pub fn svid(&self, identity: &str) -> Svid {
        let key = PrivateKey::generate().unwrap();
        let der = PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.not_before = (now() - HOUR).into();
        params.not_after = (now() + HOUR).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity).unwrap())];
        let leaf = params.signed_by(&pair, &self.issuer).unwrap().der().clone();
        Svid {
            leaf,
            intermediate: self.intermediate.clone(),
            key,
        }
    }

    pub fn bundle(&self) -> TrustBundle {
        TrustBundle::new(
            TrustDomain::parse(TRUST_DOMAIN).unwrap(),
            vec![self.root.clone()],
        )
        .unwrap()
    }

    pub fn root_pem(&self) -> String {
        chain_to_pem([&self.root])
    }
}

impl Svid {
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.leaf.clone(), self.intermediate.clone()]
    }

    pub fn spki(&self) -> SpkiHash {
        identity::Leaf::parse(&self.leaf).unwrap().spki
    }

    pub fn identity(&self) -> SpiffeId {
        identity::Leaf::parse(&self.leaf).unwrap().spiffe_id
    }

    /// The certificate as Envoy hands it on.
    pub fn field(&self) -> String {
        let escaped = chain_to_pem([&self.leaf])
            .into_bytes()
            .into_iter()
            .map(|byte| match byte {
                b' ' | b'\n' | b'+' | b'/' | b'=' => format!("%{byte:02X}"),
                other => char::from(other).to_string(),
            });
        escaped.collect()
    }
}

/// A signed statement that `digest` is ours.
pub fn signed(digest: &Digest, key: &PrivateKey) -> Evidence {
    let statement =
        Statement::signature_of(digest.clone(), None, std::collections::BTreeMap::new());
    let envelope = Envelope::sign(PAYLOAD_TYPE, statement.to_json().unwrap(), key).unwrap();
    Evidence::Dsse {
        envelope: envelope.to_json().unwrap(),
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now() - HOUR).into();
    params.not_after = (now() + 24 * HOUR).into();
    params
}
