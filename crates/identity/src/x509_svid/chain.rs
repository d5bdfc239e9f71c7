//! Owns trust in a leaf: the path from it to a root of its own trust domain.

use std::time::SystemTime;

use rustls_pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use super::{
    authority::InvalidAuthority,
    leaf::{InvalidLeaf, Leaf},
};
use crate::{spiffe_id::TrustDomain, trust_bundle::TrustBundle};

/// Most intermediates that a chain may bring. Real chains have one or two.
pub const MAX_INTERMEDIATES: usize = 8;

/// Checks that `leaf_der` is a leaf of the bundle's trust domain, with a valid path to one of its roots at `now`.
///
/// # Errors
/// Why the leaf is not trusted.
pub fn verify_chain(
    leaf_der: &[u8],
    intermediates: &[CertificateDer<'_>],
    bundle: &TrustBundle,
    now: SystemTime,
) -> Result<(), UntrustedChain> {
    let leaf = Leaf::parse(leaf_der)?;
    // SPEC(X509-SVID §5.2): the bundle is the one of the leaf's trust domain; bundles are never pooled
    let trust_domain = leaf.spiffe_id.trust_domain();
    if trust_domain != bundle.trust_domain() {
        return Err(UntrustedChain::WrongTrustDomain {
            found: trust_domain.clone(),
            wanted: bundle.trust_domain().clone(),
        });
    }
    if intermediates.len() > MAX_INTERMEDIATES {
        return Err(UntrustedChain::TooLong);
    }
    let time = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .map(UnixTime::since_unix_epoch)
        .map_err(|_before_epoch| UntrustedChain::NotYetValid)?;
    let leaf_der = CertificateDer::from(leaf_der);
    let end_entity = EndEntityCert::try_from(&leaf_der).map_err(UntrustedChain::from_webpki)?;
    // SPEC(X509-SVID §5.2): RFC 5280 path validation. Leaf::parse saw to both extended key usages, if there are any.
    end_entity
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            bundle.anchors(),
            intermediates,
            time,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map(|_path| ())
        .map_err(UntrustedChain::from_webpki)
}

/// Why a certificate is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum UntrustedChain {
    /// It breaks a rule for leaves.
    #[error(transparent)]
    Leaf(#[from] InvalidLeaf),
    /// It breaks a rule for authorities.
    #[error(transparent)]
    Authority(#[from] InvalidAuthority),
    /// It is of another trust domain than the bundle.
    #[error("the certificate is of trust domain `{found}`, not `{wanted}`")]
    WrongTrustDomain {
        /// The certificate's trust domain.
        found: TrustDomain,
        /// The bundle's trust domain.
        wanted: TrustDomain,
    },
    /// It comes with more than [`MAX_INTERMEDIATES`].
    #[error("the certificate comes with more than {MAX_INTERMEDIATES} intermediates")]
    TooLong,
    /// It, or every path to a root, has expired.
    #[error("the certificate or its chain has expired")]
    Expired,
    /// It, or every path to a root, is not valid yet.
    #[error("the certificate or its chain is not valid yet")]
    NotYetValid,
    /// No root of the bundle leads to it.
    #[error("no root of the trust domain leads to the certificate")]
    SignerUnknown,
    /// The path to a root breaks a rule of RFC 5280.
    #[error("the certificate's chain is not valid")]
    Untrusted {
        /// The rule.
        #[source]
        source: webpki::Error,
    },
}

impl UntrustedChain {
    fn from_webpki(source: webpki::Error) -> Self {
        if matches!(source, webpki::Error::CertExpired { .. }) {
            Self::Expired
        } else if matches!(source, webpki::Error::CertNotValidYet { .. }) {
            Self::NotYetValid
        } else if matches!(source, webpki::Error::UnknownIssuer) {
            Self::SignerUnknown
        } else {
            Self::Untrusted { source }
        }
    }
}

#[cfg(test)]
mod tests;
