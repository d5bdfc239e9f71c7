//! What unit tests here build their worlds from: a CA, certificates of any shape, evidence and a policy.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use daemon::tls::SvidMaterial;
use evidence::digest::Digest;
use evidence::vouched::{Claims, Format, Signature, Vouched};
use identity::spiffe_id::TrustDomain;
use identity::trust_bundle::TrustBundle;
use identity::x509_svid::chain_to_pem;
use identity::{PrivateKey, PublicKey};
use policy::{Policy, PolicySource};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;

/// 2026-01-01T00:00:00Z: the time at which every test stands unless it says otherwise.
pub(crate) fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(490_896)
}

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// An authority: a root, or an intermediate below one.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn root(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name, noon() + 100 * HOUR);
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    pub(crate) fn intermediate(&self, name: &str, not_after: SystemTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name, not_after);
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    pub(crate) fn bundle(&self, trust_domain: &str) -> TrustBundle {
        TrustBundle::new(
            TrustDomain::parse(trust_domain).unwrap(),
            vec![self.der.clone()],
        )
        .unwrap()
    }

    pub(crate) fn leaf(&self, shape: &Shape<'_>) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "acme");
        params.not_before = shape.not_before.into();
        params.not_after = shape.not_after.into();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let text = |text: &str| Ia5String::try_from(text).unwrap();
        params
            .subject_alt_names
            .extend(shape.uris.iter().map(|uri| SanType::URI(text(uri))));
        params
            .subject_alt_names
            .extend(shape.dns.iter().map(|name| SanType::DnsName(text(name))));
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Leaf { der, key }
    }
}

/// What a leaf says.
pub(crate) struct Shape<'a> {
    pub(crate) uris: &'a [&'a str],
    pub(crate) dns: &'a [&'a str],
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self {
            uris: &[FRONTEND],
            dns: &[],
            not_before: noon() - HOUR,
            not_after: noon() + HOUR,
        }
    }
}

pub(crate) const FRONTEND: &str = "spiffe://acme.test/ns/web/sa/frontend";

/// A certificate as the proxy hands it on.
pub(crate) struct Leaf {
    pub(crate) der: CertificateDer<'static>,
    key: KeyPair,
}

impl Leaf {
    pub(crate) fn key(&self) -> identity::SpkiHash {
        identity::Leaf::parse(&self.der).unwrap().spki
    }

    /// What its holder proves itself with in TLS.
    pub(crate) fn material(&self) -> SvidMaterial {
        SvidMaterial::new(vec![self.der.clone()], &self.key.serialize_der()).unwrap()
    }

    pub(crate) fn field(&self) -> Bytes {
        url_encode(&chain_to_pem([&self.der]))
    }
}

/// Envoy's encoding of the certificate field.
pub(crate) fn url_encode(text: &str) -> Bytes {
    let escaped = text.bytes().map(|byte| match byte {
        b' ' | b'\n' | b'+' | b'/' | b'=' => format!("%{byte:02X}"),
        other => char::from(other).to_string(),
    });
    escaped.collect::<String>().into()
}

fn authority_params(name: &str, not_after: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (noon() - 100 * HOUR).into();
    params.not_after = not_after.into();
    params
}

/// A signer of artifacts.
pub(crate) struct Signer(PublicKey);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(PrivateKey::generate().unwrap().public_key().clone())
    }

    /// What a verified signature of this signer proves.
    pub(crate) fn vouches(&self, subject: &Digest) -> Vouched {
        let signature = Signature {
            signer: self.0.hash(),
            claims: Claims::default(),
            format: Format::Dsse,
        };
        Vouched {
            subject: subject.clone(),
            signatures: vec![signature],
            rejected: Vec::new(),
        }
    }
}

/// Nothing is known of the digest.
pub(crate) fn unsigned(subject: &Digest) -> Vouched {
    Vouched {
        subject: subject.clone(),
        signatures: Vec::new(),
        rejected: Vec::new(),
    }
}

/// A policy whose signature policy `release` counts `signer`, with these rules, each an item of the YAML list.
pub(crate) fn policy(signer: &Signer, rules: &str) -> Policy {
    let text = format!(
        "apiVersion: countersign.dev/v1alpha1\nkind: SignaturePolicy\nmetadata: {{ name: release }}\n\
         spec:\n  signers: [{{ name: release-key, key: {{ file: release.pub }} }}]\n  signatures: {{ from: [release-key], threshold: 1 }}\n\
         ---\napiVersion: countersign.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: access }}\nspec:\n  rules:\n    {}\n",
        rules.lines().collect::<Vec<_>>().join("\n    ")
    );
    let files = BTreeMap::from([
        ("policy.yaml".to_owned(), text.into_bytes()),
        ("release.pub".to_owned(), signer.0.to_pem().into_bytes()),
    ]);
    policy::compile(&PolicySource { files }).unwrap_or_else(|errors| panic!("{errors}"))
}
