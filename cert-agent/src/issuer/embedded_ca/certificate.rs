//! The certificates of the embedded CA, and the key that signs them.

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use identity::{
    private_key::{KeyError, PrivateKey},
    public_key::PublicKey,
    spiffe_id::TrustDomain,
    x509_svid::Authority,
};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
    SubjectPublicKeyInfo,
};
use rustls::pki_types::CertificateDer;

use super::error::CaError;
use crate::issuer::{IssueError, SigningRequest};

/// The private key of an authority. It signs certificates and nothing else.
pub struct CaKey {
    key: PrivateKey,
    public: SubjectPublicKeyInfo,
}

impl CaKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// The system gave no randomness.
    pub fn generate() -> Result<Self, CaError> {
        Self::new(PrivateKey::generate().map_err(|source| CaError::Key { source })?)
    }

    /// Reads the PEM of a PKCS#8 key.
    ///
    /// # Errors
    /// The text is not one P-256 key.
    pub fn from_pem(file: PathBuf, text: &[u8]) -> Result<Self, CaError> {
        Self::new(
            PrivateKey::from_pkcs8_pem(text)
                .map_err(|source| CaError::InvalidKey { file, source })?,
        )
    }

    fn new(key: PrivateKey) -> Result<Self, CaError> {
        let public = SubjectPublicKeyInfo::from_der(key.public_key().spki_der())
            .map_err(|source| CaError::Encoding { source })?;
        Ok(Self { key, public })
    }

    pub(super) fn key(&self) -> &PrivateKey {
        &self.key
    }
}

impl std::fmt::Debug for CaKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.key.fmt(f)
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key
            .sign(message)
            .map_err(|_failed| rcgen::Error::RingUnspecified)
    }
}

/// Writes the root of a trust domain.
///
/// # Errors
/// The certificate could not be signed.
pub fn root(
    trust_domain: &TrustDomain,
    key: &CaKey,
    now: SystemTime,
) -> Result<CertificateDer<'static>, CaError> {
    let mut params = authority(trust_domain, "root", now, ROOT_LIFETIME)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    let certificate = params
        .self_signed(key)
        .map_err(|source| CaError::Encoding { source })?;
    Ok(certificate.der().clone())
}

/// Writes an intermediate under a root, for at most seven days and never past the root.
///
/// # Errors
/// The certificate could not be signed.
pub fn intermediate(
    trust_domain: &TrustDomain,
    key: &CaKey,
    root: &CertificateDer<'static>,
    root_key: &CaKey,
    now: SystemTime,
) -> Result<CertificateDer<'static>, CaError> {
    authority_for(
        trust_domain,
        key,
        root,
        root_key,
        now,
        INTERMEDIATE_LIFETIME,
    )
}

pub(super) fn authority_for(
    trust_domain: &TrustDomain,
    key: &CaKey,
    root: &CertificateDer<'static>,
    root_key: &CaKey,
    now: SystemTime,
    lifetime: Duration,
) -> Result<CertificateDer<'static>, CaError> {
    let mut params = authority(trust_domain, "intermediate", now, lifetime)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    let above = Authority::parse(root).map_err(|source| CaError::InvalidAuthority {
        what: "root",
        source,
    })?;
    params.not_after = params.not_after.min(above.not_after.into());
    let issuer =
        Issuer::from_ca_cert_der(root, root_key).map_err(|source| CaError::Encoding { source })?;
    let certificate = params
        .signed_by(key, &issuer)
        .map_err(|source| CaError::Encoding { source })?;
    Ok(certificate.der().clone())
}

/// Writes the leaf that a request asks for.
///
/// # Errors
/// The intermediate has ended, or a name cannot be encoded.
pub(super) fn leaf(
    request: &SigningRequest,
    public_key: &PublicKey,
    signer: &Issuer<'static, CaKey>,
    authority: &Authority,
    now: SystemTime,
) -> Result<CertificateDer<'static>, IssueError> {
    if now >= authority.not_after {
        return Err(IssueError::Unavailable {
            detail: "the intermediate has ended".to_owned(),
        });
    }
    let encoding = |source| IssueError::Encoding { source };
    let mut params = CertificateParams::default();
    // SPEC(X509-SVID §2): exactly one URI SAN.
    params.subject_alt_names = vec![SanType::URI(
        request.spiffe_id().as_str().try_into().map_err(encoding)?,
    )];
    for name in request.dns_names() {
        params.subject_alt_names.push(SanType::DnsName(
            name.as_str().try_into().map_err(encoding)?,
        ));
    }
    params.distinguished_name = name(&[(DnType::OrganizationName, "Countersign")]);
    // SPEC(X509-SVID §4.1): cA is false, and written: some validators need the extension.
    params.is_ca = IsCa::ExplicitNoCa;
    // SPEC(X509-SVID §4.3): digitalSignature. rcgen marks key usage critical.
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // SPEC(X509-SVID §4.4): both or none.
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(random_serial().map_err(|error| IssueError::Unavailable {
        detail: error.to_string(),
    })?);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + request.ttl()).min(authority.not_after).into();
    let public = SubjectPublicKeyInfo::from_der(public_key.spki_der()).map_err(encoding)?;
    let certificate = params.signed_by(&public, signer).map_err(encoding)?;
    Ok(certificate.der().clone())
}

fn authority(
    trust_domain: &TrustDomain,
    what: &str,
    now: SystemTime,
    lifetime: Duration,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    let uri = trust_domain
        .spiffe_uri()
        .try_into()
        .map_err(|source| CaError::Encoding { source })?;
    // SPEC(X509-SVID §3.2): a signing certificate's SPIFFE ID has no path.
    params.subject_alt_names = vec![SanType::URI(uri)];
    let serial = random_serial()?;
    // Successive intermediates have names of their own, so that a path is found by name alone.
    let common = format!(
        "{trust_domain} {what} {}",
        hex::encode(serial.as_ref().get(..4).unwrap_or_default())
    );
    params.distinguished_name = name(&[
        (DnType::OrganizationName, "Countersign"),
        (DnType::CommonName, &common),
    ]);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial);
    params.not_before = (now - CLOCK_SKEW).into();
    params.not_after = (now + lifetime).into();
    Ok(params)
}

fn name(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind.clone(), *value);
    }
    name
}

fn random_serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0_u8; SERIAL_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_unspecified| CaError::Key {
            source: KeyError::Generate,
        })?;
    let [first, ..] = &mut bytes;
    // RFC 5280 §4.1.2.2: positive, and not zero.
    *first = (*first & 0x7f) | 0x01;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Peers whose clocks are a little behind accept a new certificate at once.
pub(super) const CLOCK_SKEW: Duration = Duration::from_secs(10);
/// Ten years: the root is kept offline, and replacing it touches every machine.
const ROOT_LIFETIME: Duration = Duration::from_hours(3650 * 24);
/// Seven days: the intermediate's key is online.
pub const INTERMEDIATE_LIFETIME: Duration = Duration::from_hours(7 * 24);
/// 127 random bits.
const SERIAL_BYTES: usize = 16;
