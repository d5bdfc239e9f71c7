//! Owns what leaf and authority share: reading one certificate from DER, and chains from PEM.

use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use x509_parser::{
    certificate::X509Certificate,
    der_parser::asn1_rs::FromDer as _,
    extensions::{GeneralName, ParsedExtension},
    time::ASN1Time,
    x509::X509Version,
};

use crate::pem::{self, InvalidPem};

/// Largest certificate that is read, in bytes of DER. Envoy's own limit on headers is below it.
pub const MAX_CERTIFICATE_BYTES: usize = 32 * 1024;

/// Why some bytes are not a certificate at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// It is longer than [`MAX_CERTIFICATE_BYTES`].
    #[error("the certificate is longer than {MAX_CERTIFICATE_BYTES} bytes")]
    TooLarge,
    /// It is not the DER of an X.509 certificate.
    #[error("the certificate is not X.509 DER")]
    Malformed,
    /// Bytes follow the structure.
    #[error("bytes follow the certificate")]
    TrailingData,
    /// It is not of version 3, the only one with extensions.
    #[error("the certificate is not of version 3")]
    Version,
    /// An extension occurs twice.
    #[error("the certificate's extension `{oid}` occurs twice")]
    ExtensionRepeated {
        /// The extension's object identifier.
        oid: String,
    },
    /// An extension that we must read is not readable.
    #[error("the certificate's extension `{oid}` is malformed")]
    ExtensionMalformed {
        /// The extension's object identifier.
        oid: String,
    },
    /// The validity lies outside the times that can be told, or ends before it begins.
    #[error("the certificate's validity is not an interval of time")]
    Validity,
}

/// Reads every certificate of a PEM text, in order.
///
/// # Errors
/// The text holds no certificate, something else than certificates, or a section that is malformed.
pub fn chain_from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, InvalidPem> {
    let sections = pem::sections(pem::CERTIFICATE, text)?;
    Ok(sections
        .iter()
        .map(|der| CertificateDer::from(der.to_vec()))
        .collect())
}

/// Writes certificates as PEM, in order.
pub fn chain_to_pem<'a>(chain: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    chain
        .into_iter()
        .map(|der| pem::write(pem::CERTIFICATE, der).as_str().to_owned())
        .collect()
}

/// Reads one certificate and nothing after it. Every extension that the parser knows is readable, and none is repeated.
pub(super) fn read(der: &[u8]) -> Result<X509Certificate<'_>, InvalidCertificate> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(InvalidCertificate::TooLarge);
    }
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_source| InvalidCertificate::Malformed)?;
    if !rest.is_empty() {
        return Err(InvalidCertificate::TrailingData);
    }
    if certificate.version() != X509Version::V3 {
        return Err(InvalidCertificate::Version);
    }
    check_extensions(&certificate)?;
    Ok(certificate)
}

/// Both ends of a certificate's validity.
pub(super) fn validity(
    certificate: &X509Certificate<'_>,
) -> Result<(SystemTime, SystemTime), InvalidCertificate> {
    let validity = certificate.validity();
    let not_before = system_time(validity.not_before).ok_or(InvalidCertificate::Validity)?;
    let not_after = system_time(validity.not_after).ok_or(InvalidCertificate::Validity)?;
    if not_before > not_after {
        return Err(InvalidCertificate::Validity);
    }
    Ok((not_before, not_after))
}

/// Every name of the subject alternative name extension, and whether the extension is critical.
pub(super) fn alternative_names<'a>(
    certificate: &'a X509Certificate<'_>,
) -> (&'a [GeneralName<'a>], Criticality) {
    certificate
        .extensions()
        .iter()
        .find_map(|extension| {
            let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension()
            else {
                return None;
            };
            Some((
                names.general_names.as_slice(),
                Criticality::of(extension.critical),
            ))
        })
        .unwrap_or((&[], Criticality::Ignorable))
}

/// The URI names among `names`, in order.
pub(super) fn uris<'a>(names: &[GeneralName<'a>]) -> Vec<&'a str> {
    names
        .iter()
        .filter_map(|name| {
            let GeneralName::URI(uri) = name else {
                return None;
            };
            Some(*uri)
        })
        .collect()
}

/// The DNS names among `names`, in order.
pub(super) fn dns_names(names: &[GeneralName<'_>]) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| {
            let GeneralName::DNSName(name) = name else {
                return None;
            };
            Some((*name).to_owned())
        })
        .collect()
}

/// Whether a reader that does not know an extension must refuse the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Criticality {
    Critical,
    Ignorable,
}

impl Criticality {
    pub(super) const fn of(critical: bool) -> Self {
        if critical {
            Self::Critical
        } else {
            Self::Ignorable
        }
    }
}

/// The serial number in lower-case hex, without the zero that keeps it positive.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> String {
    let raw = certificate.raw_serial();
    let digits = match raw.split_first() {
        Some((0, rest)) if !rest.is_empty() => rest,
        Some(_) | None => raw,
    };
    hex::encode(digits)
}

fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), InvalidCertificate> {
    let mut seen = Vec::new();
    for extension in certificate.extensions() {
        let oid = extension.oid.to_id_string();
        if seen.contains(&oid) {
            return Err(InvalidCertificate::ExtensionRepeated { oid });
        }
        if is_malformed(extension.parsed_extension()) {
            return Err(InvalidCertificate::ExtensionMalformed { oid });
        }
        seen.push(oid);
    }
    Ok(())
}

fn is_malformed(extension: &ParsedExtension<'_>) -> bool {
    if let ParsedExtension::SubjectAlternativeName(names) = extension {
        // The parser hands on a name that it cannot read; a URI among them would escape the count.
        return names
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::Invalid(..)));
    }
    matches!(extension, ParsedExtension::ParseError { .. })
}

fn system_time(time: ASN1Time) -> Option<SystemTime> {
    let seconds = time.timestamp();
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    }
}

#[cfg(test)]
mod tests;
