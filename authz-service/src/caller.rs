//! PURE. Who calls: the peer certificate that the proxy handed on, held against the trust bundles.

use std::time::SystemTime;

use identity::public_key::SpkiHash;
use identity::spiffe_id::SpiffeId;
use identity::x509_svid::{
    InvalidLeaf, Leaf, MAX_INTERMEDIATES, UntrustedChain, chain_from_pem, verify_chain,
};
use policy::reason::Reason;
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use crate::denial::Denial;
use crate::ext_authz::request::RawCheck;
use crate::record::time;
use crate::snapshot::Trust;

mod peers;
mod percent;

pub use peers::Peers;

/// A caller that proved its identity to the proxy with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The one URI name of the certificate.
    pub spiffe_id: SpiffeId,
    /// The SHA-256 of its public key: what a binding is found by.
    pub key: SpkiHash,
    /// The certificate's serial number, lower-case hex.
    pub serial: String,
    /// When the certificate ends.
    #[serde(with = "time")]
    pub not_after: SystemTime,
}

/// A certificate that keeps every rule of X509-SVID. Whose signature is on it is another question.
#[derive(Debug)]
struct Certificate {
    der: CertificateDer<'static>,
    leaf: Leaf,
}

/// The certificate field, which the proxy must have sent: a principal alone proves nothing that a name in a DNS SAN could not say.
fn present(asked: &RawCheck) -> Result<&[u8], Denial> {
    match (asked.certificate.is_empty(), asked.principal.is_empty()) {
        (false, _) => Ok(&asked.certificate),
        (true, true) => Err(Denial::new(
            Reason::IdentityMissing,
            "the caller showed the proxy no certificate",
        )),
        (true, false) => Err(Denial::new(
            Reason::IdentityMissing,
            "the proxy sent a principal without its certificate; `include_peer_certificate` is off",
        )),
    }
}

impl Certificate {
    /// Reads the field: URL-encoded PEM of exactly one leaf.
    fn parse(field: &[u8]) -> Result<Self, Denial> {
        let malformed = |detail: String| Denial::new(Reason::IdentityMalformed, detail);
        if field.len() > MAX_FIELD_BYTES {
            return Err(malformed(format!(
                "the certificate field is longer than {MAX_FIELD_BYTES} bytes"
            )));
        }
        let pem = percent::decode(field)
            .ok_or_else(|| malformed("the certificate field is not URL-encoded".to_owned()))?;
        let chain = chain_from_pem(&pem).map_err(|invalid| malformed(invalid.to_string()))?;
        let [der] = <[CertificateDer<'static>; 1]>::try_from(chain).map_err(|several| {
            let count = several.len();
            Denial::new(
                Reason::IdentityAmbiguous,
                format!("the certificate field holds {count} certificates, not one"),
            )
        })?;
        let leaf = Leaf::parse(&der).map_err(|invalid| refuse_leaf(&invalid))?;
        Ok(Self { der, leaf })
    }

    /// SPEC(design §9 rule 3): equal to the principal, inside its validity now.
    fn check_presented(&self, principal: &[u8], now: SystemTime) -> Result<(), Denial> {
        let id = &self.leaf.spiffe_id;
        if principal != id.as_str().as_bytes() {
            let principal =
                String::from_utf8_lossy(principal.get(..MAX_SHOWN_BYTES).unwrap_or(principal))
                    .into_owned();
            let detail =
                format!("the certificate says `{id}`, the proxy's principal says `{principal}`");
            return Err(Denial::new(Reason::IdentityAmbiguous, detail));
        }
        if now < self.leaf.not_before {
            return Err(Denial::new(
                Reason::IdentityExpired,
                "the certificate is not valid yet",
            ));
        }
        if now > self.leaf.not_after {
            return Err(Denial::new(
                Reason::IdentityExpired,
                "the certificate has expired",
            ));
        }
        Ok(())
    }

    /// A path from this leaf to a root of its own trust domain, over the intermediates that agents brought.
    ///
    /// Returns until when that holds if nothing else changes: the first end of anything that may be on the path.
    fn chain(&self, trust: &Trust, now: SystemTime) -> Result<SystemTime, Denial> {
        let trust_domain = self.leaf.spiffe_id.trust_domain();
        let bundle = trust.bundles.get(trust_domain).ok_or_else(|| {
            Denial::new(
                Reason::IdentityUntrusted,
                format!("no trust bundle for trust domain `{trust_domain}`"),
            )
        })?;
        let known = trust
            .intermediates
            .get(trust_domain)
            .map_or(&[][..], Vec::as_slice);
        let live: Vec<_> = known
            .iter()
            .filter(|intermediate| now <= intermediate.not_after)
            .collect();
        let ends = live
            .iter()
            .map(|intermediate| intermediate.not_after)
            .fold(self.leaf.not_after, SystemTime::min);
        let candidates: Vec<CertificateDer<'_>> = live
            .iter()
            .map(|intermediate| intermediate.der.clone())
            .collect();
        let mut refused = None;
        // In parts, because a chain takes only so many: renewals pile up, and must not shut anyone out.
        for part in candidates.chunks(MAX_INTERMEDIATES).chain([&[][..]]) {
            match verify_chain(&self.der, part, bundle, now) {
                Ok(()) => return Ok(ends),
                Err(error) if leads_nowhere(&error) => {
                    refused.get_or_insert(error);
                }
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.map_or_else(
            || {
                Denial::new(
                    Reason::IdentityUntrusted,
                    "no root of the trust domain leads to the certificate",
                )
            },
            |error| refuse_chain(&error),
        ))
    }

    fn caller(&self) -> Caller {
        let Leaf {
            spiffe_id,
            spki,
            serial,
            not_after,
            ..
        } = &self.leaf;
        Caller {
            spiffe_id: spiffe_id.clone(),
            key: *spki,
            serial: serial.clone(),
            not_after: *not_after,
        }
    }
}

/// Whether the leaf's issuer was simply not among these, so that another one's error says more.
fn leads_nowhere(error: &UntrustedChain) -> bool {
    matches!(error, UntrustedChain::SignerUnknown)
}

fn refuse_leaf(invalid: &InvalidLeaf) -> Denial {
    let reason = match invalid {
        InvalidLeaf::SeveralUris { .. } => Reason::IdentityAmbiguous,
        InvalidLeaf::Certificate(_)
        | InvalidLeaf::UriMissing
        | InvalidLeaf::SpiffeId { .. }
        | InvalidLeaf::NamesNotCritical
        | InvalidLeaf::IsAuthority
        | InvalidLeaf::KeyUsageMissing
        | InvalidLeaf::KeyUsageNotCritical
        | InvalidLeaf::NotForSignatures
        | InvalidLeaf::ForCertificates
        | InvalidLeaf::ForRevocationLists
        | InvalidLeaf::NotForBothEnds
        | InvalidLeaf::PublicKey { .. } => Reason::IdentityMalformed,
    };
    Denial::new(reason, daemon::chain(invalid))
}

fn refuse_chain(error: &UntrustedChain) -> Denial {
    match error {
        UntrustedChain::Leaf(invalid) => refuse_leaf(invalid),
        UntrustedChain::Expired | UntrustedChain::NotYetValid => {
            Denial::new(Reason::IdentityExpired, daemon::chain(error))
        }
        UntrustedChain::Authority(_)
        | UntrustedChain::WrongTrustDomain { .. }
        | UntrustedChain::TooLong
        | UntrustedChain::SignerUnknown
        | UntrustedChain::Untrusted { .. } => {
            Denial::new(Reason::IdentityUntrusted, daemon::chain(error))
        }
    }
}

/// A certificate of 32 KiB, in PEM, URL-encoded.
const MAX_FIELD_BYTES: usize = 64 * 1024;
/// What a record shows of a principal that is not the certificate's.
const MAX_SHOWN_BYTES: usize = 256;

#[cfg(test)]
mod tests;
