//! Owns the leaf of an X.509-SVID: the rules by which a certificate names a workload.

use std::time::SystemTime;

use x509_parser::certificate::X509Certificate;

use super::certificate::{self, Criticality, InvalidCertificate};
use crate::{
    public_key::{InvalidPublicKey, PublicKey, SpkiHash},
    spiffe_id::{InvalidSpiffeId, SpiffeId},
};

/// A leaf certificate that keeps every rule of X509-SVID for one. It says nothing about who signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The identity, from the only URI name.
    pub spiffe_id: SpiffeId,
    /// The key that the identity is bound to.
    pub public_key: PublicKey,
    /// The hash of that key.
    pub spki: SpkiHash,
    /// First instant of the validity.
    pub not_before: SystemTime,
    /// Last instant of the validity.
    pub not_after: SystemTime,
    /// Serial number in lower-case hex.
    pub serial: String,
    /// The DNS names beside the identity. They are not identities.
    pub dns_names: Vec<String>,
}

impl Leaf {
    /// Reads a leaf from DER.
    ///
    /// # Errors
    /// The rule that the certificate breaks.
    pub fn parse(der: &[u8]) -> Result<Self, InvalidLeaf> {
        let certificate = certificate::read(der)?;
        let spiffe_id = spiffe_id(&certificate)?;
        check_not_authority(&certificate)?;
        check_key_usage(&certificate)?;
        check_extended_key_usage(&certificate)?;
        let public_key = PublicKey::from_spki_der(certificate.public_key().raw)
            .map_err(|source| InvalidLeaf::PublicKey { source })?;
        let (not_before, not_after) = certificate::validity(&certificate)?;
        Ok(Self {
            spiffe_id,
            spki: public_key.hash(),
            public_key,
            not_before,
            not_after,
            serial: certificate::serial(&certificate),
            dns_names: certificate::dns_names(certificate::alternative_names(&certificate).0),
        })
    }

    /// Whether `now` lies inside the validity, both ends included.
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// The rule of X509-SVID that a certificate breaks as a leaf.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLeaf {
    /// It is not a readable certificate.
    #[error(transparent)]
    Certificate(#[from] InvalidCertificate),
    /// It has no URI name, so it names no one. A DNS name that reads like a SPIFFE ID is a DNS name.
    #[error("the certificate has no URI name")]
    UriMissing,
    /// It has more than one URI name.
    #[error("the certificate has {count} URI names, not one")]
    SeveralUris {
        /// How many.
        count: usize,
    },
    /// Its URI name is not a workload's SPIFFE ID.
    #[error("the certificate's URI name `{uri}` is not a SPIFFE ID")]
    SpiffeId {
        /// The name.
        uri: String,
        /// The rule that it breaks.
        #[source]
        source: InvalidSpiffeId,
    },
    /// Its subject is empty and its names may be ignored.
    #[error("the certificate has an empty subject and its alternative names are not critical")]
    NamesNotCritical,
    /// It is a certificate authority.
    #[error("the certificate is an authority's")]
    IsAuthority,
    /// It does not say what its key is for.
    #[error("the certificate has no key usage")]
    KeyUsageMissing,
    /// What its key is for may be ignored.
    #[error("the certificate's key usage is not critical")]
    KeyUsageNotCritical,
    /// Its key is not for digital signatures.
    #[error("the certificate's key is not for digital signatures")]
    NotForSignatures,
    /// Its key is for signing certificates.
    #[error("the certificate's key is for signing certificates")]
    ForCertificates,
    /// Its key is for signing revocation lists.
    #[error("the certificate's key is for signing revocation lists")]
    ForRevocationLists,
    /// Its key is not for both ends of TLS, though it says what it is for.
    #[error("the certificate's key is not for both ends of TLS")]
    NotForBothEnds,
    /// Its key is not of an accepted kind.
    #[error("the certificate's key is not accepted")]
    PublicKey {
        /// What is wrong with the key.
        #[source]
        source: InvalidPublicKey,
    },
}

/// SPEC(X509-SVID §2): exactly one URI name, a workload's SPIFFE ID
fn spiffe_id(certificate: &X509Certificate<'_>) -> Result<SpiffeId, InvalidLeaf> {
    let (names, criticality) = certificate::alternative_names(certificate);
    let uris = certificate::uris(names);
    let uri = match uris.as_slice() {
        [] => return Err(InvalidLeaf::UriMissing),
        [uri] => *uri,
        [_, _, ..] => return Err(InvalidLeaf::SeveralUris { count: uris.len() }),
    };
    // SPEC(X509-SVID §2): names are critical when the subject is empty (RFC 5280 §4.1.2.6)
    if certificate.subject().iter().next().is_none() && criticality == Criticality::Ignorable {
        return Err(InvalidLeaf::NamesNotCritical);
    }
    SpiffeId::parse(uri).map_err(|source| InvalidLeaf::SpiffeId {
        uri: uri.to_owned(),
        source,
    })
}

/// SPEC(X509-SVID §4.1): the `cA` field of a leaf is false. An absent extension says the same (RFC 5280 §4.2.1.9).
fn check_not_authority(certificate: &X509Certificate<'_>) -> Result<(), InvalidLeaf> {
    if certificate.is_ca() {
        return Err(InvalidLeaf::IsAuthority);
    }
    Ok(())
}

/// SPEC(X509-SVID §4.3): key usage is present, critical, with `digitalSignature` and without `keyCertSign` and `cRLSign`
fn check_key_usage(certificate: &X509Certificate<'_>) -> Result<(), InvalidLeaf> {
    let usage = certificate
        .key_usage()
        .ok()
        .flatten()
        .ok_or(InvalidLeaf::KeyUsageMissing)?;
    if !usage.critical {
        return Err(InvalidLeaf::KeyUsageNotCritical);
    }
    if !usage.value.digital_signature() {
        return Err(InvalidLeaf::NotForSignatures);
    }
    if usage.value.key_cert_sign() {
        return Err(InvalidLeaf::ForCertificates);
    }
    if usage.value.crl_sign() {
        return Err(InvalidLeaf::ForRevocationLists);
    }
    Ok(())
}

/// SPEC(X509-SVID §4.4): when extended key usage is present it holds both `serverAuth` and `clientAuth`
fn check_extended_key_usage(certificate: &X509Certificate<'_>) -> Result<(), InvalidLeaf> {
    match certificate.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.server_auth && usage.value.client_auth => Ok(()),
        Ok(Some(_)) | Err(_) => Err(InvalidLeaf::NotForBothEnds),
    }
}

#[cfg(test)]
mod tests;
