//! Owns the authorities of a chain: the facts of a CA certificate, and whether a bundle's root signed it.

use std::time::SystemTime;

use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;

use super::{
    certificate::{self, InvalidCertificate},
    chain::UntrustedChain,
};
use crate::{
    public_key::{InvalidPublicKey, PublicKey, SpkiHash},
    spiffe_id::{InvalidTrustDomain, TrustDomain},
    trust_bundle::TrustBundle,
};

/// A certificate that keeps every rule of X509-SVID for a signing certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The trust domain that it says it signs for, if it says so.
    pub trust_domain: Option<TrustDomain>,
    /// The key that it signs with.
    pub public_key: PublicKey,
    /// The hash of that key.
    pub spki: SpkiHash,
    /// First instant of the validity.
    pub not_before: SystemTime,
    /// Last instant of the validity.
    pub not_after: SystemTime,
    /// Serial number in lower-case hex.
    pub serial: String,
}

impl Authority {
    /// Reads a signing certificate from DER.
    ///
    /// # Errors
    /// The rule that the certificate breaks.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidAuthority> {
        Self::from_certificate(&certificate::read(der)?)
    }

    fn from_certificate(certificate: &X509Certificate<'_>) -> Result<Self, InvalidAuthority> {
        // SPEC(X509-SVID §4.1): the `cA` field of a signing certificate is true
        if !certificate.is_ca() {
            return Err(InvalidAuthority::NotAuthority);
        }
        // SPEC(X509-SVID §4.3): a signing certificate has `keyCertSign`
        let usage = certificate.key_usage().ok().flatten();
        if !usage.is_some_and(|usage| usage.value.key_cert_sign()) {
            return Err(InvalidAuthority::NotForCertificates);
        }
        let public_key = PublicKey::from_spki_der(certificate.public_key().raw)
            .map_err(|source| InvalidAuthority::PublicKey { source })?;
        let (not_before, not_after) = certificate::validity(certificate)?;
        Ok(Self {
            trust_domain: trust_domain(certificate)?,
            spki: public_key.hash(),
            public_key,
            not_before,
            not_after,
            serial: certificate::serial(certificate),
        })
    }
}

/// Checks that a root of `bundle` itself signed the intermediate `der`, and that it may sign at `now`.
///
/// It does not look at the constraints that a root lays on its intermediates: [`verify_chain`](super::verify_chain) does, for each leaf.
///
/// # Errors
/// The intermediate is not an authority, is outside its validity, is of another trust domain, or no root signed it.
pub fn verify_authority(
    der: &[u8],
    bundle: &TrustBundle,
    now: SystemTime,
) -> Result<Authority, UntrustedChain> {
    let certificate = certificate::read(der).map_err(InvalidAuthority::from)?;
    let authority = Authority::from_certificate(&certificate)?;
    if let Some(trust_domain) = &authority.trust_domain
        && trust_domain != bundle.trust_domain()
    {
        return Err(UntrustedChain::WrongTrustDomain {
            found: trust_domain.clone(),
            wanted: bundle.trust_domain().clone(),
        });
    }
    if now < authority.not_before {
        return Err(UntrustedChain::NotYetValid);
    }
    if now > authority.not_after {
        return Err(UntrustedChain::Expired);
    }
    if bundle.roots().iter().any(|root| signed(root, &certificate)) {
        Ok(authority)
    } else {
        Err(UntrustedChain::SignerUnknown)
    }
}

/// The rule of X509-SVID that a certificate breaks as a signing certificate.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAuthority {
    /// It is not a readable certificate.
    #[error(transparent)]
    Certificate(#[from] InvalidCertificate),
    /// It is a leaf.
    #[error("the certificate is not an authority's")]
    NotAuthority,
    /// Its key is not for signing certificates.
    #[error("the authority's key is not for signing certificates")]
    NotForCertificates,
    /// It has more than one URI name.
    #[error("the authority has {count} URI names, not one at most")]
    SeveralUris {
        /// How many.
        count: usize,
    },
    /// Its URI name is not the SPIFFE ID of a trust domain.
    #[error("the authority's URI name `{uri}` is not a trust domain's SPIFFE ID")]
    TrustDomain {
        /// The name.
        uri: String,
        /// The rule that it breaks.
        #[source]
        source: InvalidTrustDomain,
    },
    /// Its key is not of an accepted kind.
    #[error("the authority's key is not accepted")]
    PublicKey {
        /// What is wrong with the key.
        #[source]
        source: InvalidPublicKey,
    },
}

/// SPEC(X509-SVID §3.2): a signing certificate's SPIFFE ID, if it has one, has no path
fn trust_domain(
    certificate: &X509Certificate<'_>,
) -> Result<Option<TrustDomain>, InvalidAuthority> {
    let (names, _) = certificate::alternative_names(certificate);
    let uris = certificate::uris(names);
    match uris.as_slice() {
        [] => Ok(None),
        [uri] => TrustDomain::parse_spiffe_uri(uri)
            .map(Some)
            .map_err(|source| InvalidAuthority::TrustDomain {
                uri: (*uri).to_owned(),
                source,
            }),
        [_, _, ..] => Err(InvalidAuthority::SeveralUris { count: uris.len() }),
    }
}

fn signed(root: &CertificateDer<'_>, certificate: &X509Certificate<'_>) -> bool {
    let Ok(root) = certificate::read(root) else {
        return false;
    };
    root.subject().as_raw() == certificate.issuer().as_raw()
        && certificate
            .verify_signature(Some(root.public_key()))
            .is_ok()
}

#[cfg(test)]
mod tests;
