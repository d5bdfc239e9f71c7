//! Owns the certificates of the TLS tests.

use std::time::{Duration, SystemTime};

use identity::{TrustBundle, TrustBundles, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::CertificateDer;

use crate::tls::SvidMaterial;

pub(crate) const SERVER: &str = "spiffe://acme.test/countersign/authz-service";
pub(crate) const PROXY: &str = "spiffe://acme.test/proxy/envoy";

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// The time at which every certificate becomes valid.
pub(crate) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

pub(crate) struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = valid_for(HOUR * 1000);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        let acme = TrustDomain::parse("acme.test").unwrap();
        TrustBundle::new(acme, vec![self.der.clone()]).unwrap()
    }

    pub(crate) fn bundles(&self) -> TrustBundles {
        [self.bundle()].into_iter().collect()
    }

    pub(crate) fn svid(&self, spiffe_id: &str) -> SvidMaterial {
        self.svid_for(spiffe_id, HOUR)
    }

    pub(crate) fn svid_for(&self, spiffe_id: &str, time: Duration) -> SvidMaterial {
        let mut params = valid_for(time);
        params.subject_alt_names = vec![SanType::URI(spiffe_id.try_into().unwrap())];
        let (chain, key) = self.sign(params);
        SvidMaterial::new(chain, &key).unwrap()
    }

    /// A chain and a key that do not belong together.
    pub(crate) fn mismatched(&self) -> (Vec<CertificateDer<'static>>, Vec<u8>) {
        let mut params = valid_for(HOUR);
        params.subject_alt_names = vec![SanType::URI(PROXY.try_into().unwrap())];
        let (chain, _) = self.sign(params);
        (chain, KeyPair::generate().unwrap().serialize_der())
    }

    /// A certificate that names no SPIFFE ID.
    pub(crate) fn nameless(&self) -> (Vec<CertificateDer<'static>>, Vec<u8>) {
        self.sign(valid_for(HOUR))
    }

    fn sign(&self, mut params: CertificateParams) -> (Vec<CertificateDer<'static>>, Vec<u8>) {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (vec![leaf], key.serialize_der())
    }
}

fn valid_for(time: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "test");
    params.not_before = now().into();
    params.not_after = (now() + time).into();
    params
}
