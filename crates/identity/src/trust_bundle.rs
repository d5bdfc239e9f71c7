//! Owns trust bundles: the roots of a trust domain, never pooled with another's.

use std::{collections::BTreeMap, fmt, sync::Arc};

use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::{
    pem::InvalidPem,
    spiffe_id::TrustDomain,
    x509_svid::{self, Authority, InvalidAuthority},
};

/// Most roots that a bundle may have. A rotation needs two.
pub const MAX_ROOTS: usize = 128;

/// The roots of one trust domain. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustBundle {
    trust_domain: TrustDomain,
    roots: Arc<[CertificateDer<'static>]>,
    anchors: Arc<[TrustAnchor<'static>]>,
}

impl TrustBundle {
    /// Takes `roots` as those of `trust_domain`.
    ///
    /// # Errors
    /// There is no root, one is not an authority's certificate, or one says that it is another trust domain's.
    pub fn new(
        trust_domain: TrustDomain,
        roots: Vec<CertificateDer<'static>>,
    ) -> Result<Self, InvalidTrustBundle> {
        if roots.is_empty() {
            return Err(InvalidTrustBundle::Empty);
        }
        if roots.len() > MAX_ROOTS {
            return Err(InvalidTrustBundle::TooLong);
        }
        let anchors = roots
            .iter()
            .zip(1..)
            .map(|(root, position)| anchor(root, position, &trust_domain))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            trust_domain,
            roots: roots.into(),
            anchors: anchors.into(),
        })
    }

    /// Reads the roots of `trust_domain` from PEM.
    ///
    /// # Errors
    /// The text is not PEM certificates, or [`TrustBundle::new`] refuses them.
    pub fn from_pem(trust_domain: TrustDomain, text: &[u8]) -> Result<Self, InvalidTrustBundle> {
        let roots =
            x509_svid::chain_from_pem(text).map_err(|source| InvalidTrustBundle::Pem { source })?;
        Self::new(trust_domain, roots)
    }

    /// The trust domain whose roots these are.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The roots, in the order they came.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The roots as PEM.
    pub fn to_pem(&self) -> String {
        x509_svid::chain_to_pem(self.roots.iter())
    }

    /// The roots as concatenated DER: the form of the Workload API.
    pub fn to_der(&self) -> Vec<u8> {
        self.roots
            .iter()
            .flat_map(|root| root.iter().copied())
            .collect()
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle")
            .field("trust_domain", &self.trust_domain)
            .field("roots", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// The bundles of several trust domains, each found by its own name alone. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustBundles(Arc<BTreeMap<TrustDomain, TrustBundle>>);

impl TrustBundles {
    /// The bundle of `trust_domain`.
    pub fn get(&self, trust_domain: &TrustDomain) -> Option<&TrustBundle> {
        self.0.get(trust_domain)
    }

    /// Every bundle, by name.
    pub fn iter(&self) -> impl Iterator<Item = &TrustBundle> {
        self.0.values()
    }

    /// Whether no trust domain is trusted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<TrustBundle> for TrustBundles {
    /// A later bundle replaces an earlier one of the same trust domain.
    fn from_iter<I: IntoIterator<Item = TrustBundle>>(bundles: I) -> Self {
        let by_name = bundles
            .into_iter()
            .map(|bundle| (bundle.trust_domain().clone(), bundle))
            .collect();
        Self(Arc::new(by_name))
    }
}

/// Why some certificates are not a trust bundle.
#[derive(Debug, thiserror::Error)]
pub enum InvalidTrustBundle {
    /// The text is not PEM certificates.
    #[error("the trust bundle is not PEM certificates")]
    Pem {
        /// What is wrong with the PEM.
        #[source]
        source: InvalidPem,
    },
    /// It has no root.
    #[error("the trust bundle has no root")]
    Empty,
    /// It has more than [`MAX_ROOTS`].
    #[error("the trust bundle has more than {MAX_ROOTS} roots")]
    TooLong,
    /// A root is not an authority's certificate.
    #[error("root {position} of the trust bundle is not an authority")]
    Root {
        /// Which root, counted from one.
        position: usize,
        /// The rule that it breaks.
        #[source]
        source: InvalidAuthority,
    },
    /// A root cannot be the end of a path.
    #[error("root {position} of the trust bundle cannot be an anchor of trust")]
    Anchor {
        /// Which root, counted from one.
        position: usize,
        /// What the path validator says.
        #[source]
        source: webpki::Error,
    },
    /// A root says that it is another trust domain's.
    #[error("root {position} of the trust bundle is of trust domain `{found}`")]
    WrongTrustDomain {
        /// Which root, counted from one.
        position: usize,
        /// The trust domain that it names.
        found: TrustDomain,
    },
}

fn anchor(
    root: &CertificateDer<'static>,
    position: usize,
    trust_domain: &TrustDomain,
) -> Result<TrustAnchor<'static>, InvalidTrustBundle> {
    let authority =
        Authority::parse(root).map_err(|source| InvalidTrustBundle::Root { position, source })?;
    if let Some(found) = authority.trust_domain
        && found != *trust_domain
    {
        return Err(InvalidTrustBundle::WrongTrustDomain { position, found });
    }
    webpki::anchor_from_trusted_cert(root)
        .map(|anchor| anchor.to_owned())
        .map_err(|source| InvalidTrustBundle::Anchor { position, source })
}

#[cfg(test)]
mod tests;
