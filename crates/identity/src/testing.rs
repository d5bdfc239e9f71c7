//! Owns the certificates of this crate's tests: authorities and leaves, right ones and wrong ones.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use crate::{TrustBundle, TrustDomain};

pub(crate) const FRONTEND: &str = "spiffe://acme.test/ns/web/sa/frontend";

/// The time of every test.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

pub(crate) const HOUR: Duration = Duration::from_hours(1);

pub(crate) fn acme() -> TrustDomain {
    TrustDomain::parse("acme.test").unwrap()
}

/// An authority that signs certificates.
pub(crate) struct Ca {
    pub(crate) der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn root() -> Self {
        Self::root_with(|_| {})
    }

    pub(crate) fn root_with(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params("root");
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn intermediate(&self) -> Self {
        self.intermediate_with(|_| {})
    }

    pub(crate) fn intermediate_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params("intermediate");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn leaf(&self, spiffe_id: &str) -> CertificateDer<'static> {
        self.leaf_with(spiffe_id, |_| {})
    }

    pub(crate) fn leaf_with(
        &self,
        spiffe_id: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = leaf_params(spiffe_id);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().clone()
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::new(acme(), vec![self.der.clone()]).unwrap()
    }
}

pub(crate) fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

pub(crate) fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// An extension as raw DER, not critical.
pub(crate) fn extension(oid: &[u64], der: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(oid, der.to_vec())
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for(&mut params, HOUR * 24);
    params
}

fn leaf_params(spiffe_id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("workload");
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = vec![uri(spiffe_id)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.serial_number = Some(vec![0xf0, 0x01].into());
    valid_for(&mut params, HOUR);
    params
}

pub(crate) fn valid_for(params: &mut CertificateParams, time: Duration) {
    params.not_before = now().into();
    params.not_after = (now() + time).into();
}

pub(crate) fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
