//! Certificates that an issuer would never give, made with the issuer's own key: what an attacker who got one could show.

use std::path::Path;

use anyhow::Context as _;
use identity::x509_svid::chain_from_pem;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::wire::Credentials;

/// What the forged certificate says of its holder.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    /// A proper SPIFFE ID.
    Uri(&'a str),
    /// A DNS name, whatever it reads like.
    Dns(&'a str),
}

/// A forged certificate, as files and as credentials.
#[derive(Debug)]
pub struct Forged {
    /// Leaf and intermediate.
    pub chain_pem: String,
    /// PKCS#8.
    pub key_pem: String,
    /// The same, for a connection.
    pub credentials: Credentials,
}

/// Makes a certificate under the intermediate in `ca`, with a key of its own.
///
/// # Errors
///
/// When the CA's files cannot be read.
pub fn certificate(ca: &Path, name: Name<'_>) -> anyhow::Result<Forged> {
    let read = |file: &str| {
        std::fs::read_to_string(ca.join(file))
            .with_context(|| format!("cannot read the CA's {file}"))
    };
    let intermediate = read("intermediate.pem")?;
    let issuer = Issuer::from_ca_cert_pem(
        &intermediate,
        KeyPair::from_pem(&read("intermediate.key")?)?,
    )?;
    let key = KeyPair::generate()?;
    let leaf = params(name)?.signed_by(&key, &issuer)?;
    let chain_pem = format!("{}{intermediate}", leaf.pem());
    let credentials = Credentials {
        chain: chain_from_pem(chain_pem.as_bytes())?,
        key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
    };
    Ok(Forged {
        chain_pem,
        key_pem: key.serialize_pem(),
        credentials,
    })
}

fn params(name: Name<'_>) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![match name {
        Name::Uri(text) => SanType::URI(text.try_into()?),
        Name::Dns(text) => SanType::DnsName(text.try_into()?),
    }];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    // The defaults of rcgen run from 1975 to 4096: no verifier minds the date.
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
