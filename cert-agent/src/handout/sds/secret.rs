//! The secrets that SDS names, made of what a workload holds.

use envoy_types::{
    pb::envoy::{
        config::core::v3::{DataSource, TypedExtensionConfig, data_source::Specifier},
        extensions::transport_sockets::tls::v3::{
            CertificateValidationContext, Secret, SpiffeCertValidatorConfig, TlsCertificate,
            secret, spiffe_cert_validator_config::TrustDomain,
        },
    },
    util::pack_any,
};
use evidence::digest::Digest;
use identity::trust_bundle::TrustBundle;
use prost::Message as _;

use crate::handout::{counter::Portion, svid::Svid};

/// A secret, encoded, with what tells it from its next version.
#[derive(Debug)]
pub(super) struct Versioned {
    pub(super) version: String,
    pub(super) encoded: Vec<u8>,
}

/// Makes the secret of that name, if it is this workload's to have.
pub(super) fn named(name: &str, portion: &Portion) -> Option<Versioned> {
    let bundle = &portion.authorities.bundle;
    match name {
        DEFAULT => portion.svids.first().map(|svid| certificate(name, svid)),
        ROOT => Some(validation(name, bundle, trusted_ca(bundle))),
        ALL => Some(validation(name, bundle, spiffe_validator(bundle))),
        name if name == bundle.trust_domain().spiffe_uri() => {
            Some(validation(name, bundle, trusted_ca(bundle)))
        }
        name => portion
            .svids
            .iter()
            .find(|svid| svid.leaf().spiffe_id.as_str() == name)
            .map(|svid| certificate(name, svid)),
    }
}

fn certificate(name: &str, svid: &Svid) -> Versioned {
    let certificate = TlsCertificate {
        certificate_chain: Some(inline(svid.chain_pem())),
        private_key: Some(inline(svid.key_pem())),
        ..TlsCertificate::default()
    };
    encoded(
        name,
        svid.leaf().serial.clone(),
        secret::Type::TlsCertificate(certificate),
    )
}

fn validation(
    name: &str,
    bundle: &TrustBundle,
    context: CertificateValidationContext,
) -> Versioned {
    let version = Digest::sha256_of(&bundle.to_der())
        .hex()
        .chars()
        .take(VERSION_DIGITS)
        .collect();
    encoded(name, version, secret::Type::ValidationContext(context))
}

fn trusted_ca(bundle: &TrustBundle) -> CertificateValidationContext {
    CertificateValidationContext {
        trusted_ca: Some(inline(&bundle.to_pem())),
        ..CertificateValidationContext::default()
    }
}

/// Envoy's own SPIFFE validator: it takes the bundle of the peer's trust domain, not a pool of all.
fn spiffe_validator(bundle: &TrustBundle) -> CertificateValidationContext {
    let trust_domain = TrustDomain {
        name: bundle.trust_domain().to_string(),
        trust_bundle: Some(inline(&bundle.to_pem())),
        ..TrustDomain::default()
    };
    let config = SpiffeCertValidatorConfig {
        trust_domains: vec![trust_domain],
        ..SpiffeCertValidatorConfig::default()
    };
    let validator = TypedExtensionConfig {
        name: VALIDATOR.to_owned(),
        typed_config: Some(pack_any(config)),
    };
    CertificateValidationContext {
        custom_validator_config: Some(validator),
        ..CertificateValidationContext::default()
    }
}

fn encoded(name: &str, version: String, content: secret::Type) -> Versioned {
    let secret = Secret {
        name: name.to_owned(),
        r#type: Some(content),
    };
    Versioned {
        version,
        encoded: secret.encode_to_vec(),
    }
}

fn inline(pem: &str) -> DataSource {
    DataSource {
        specifier: Some(Specifier::InlineBytes(pem.as_bytes().to_vec())),
        ..DataSource::default()
    }
}

/// The first SVID, whichever it is; Istio's and SPIRE's name for it.
const DEFAULT: &str = "default";
/// The roots as `trusted_ca`; Istio's and SPIRE's name for them.
const ROOT: &str = "ROOTCA";
/// The roots for Envoy's SPIFFE validator; SPIRE's name for them.
const ALL: &str = "ALL";
const VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";
/// Enough to tell two bundles apart.
const VERSION_DIGITS: usize = 16;
