//! What an issuer is: it sees a public key with a proof of its private half, and gives a chain back.

pub mod embedded_ca;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::BoxFuture;
use identity::{
    private_key::{KeyError, PrivateKey},
    public_key::PublicKey,
    spiffe_id::SpiffeId,
    trust_bundle::TrustBundle,
    x509_svid::{self, InvalidLeaf, Leaf, UntrustedChain},
};
use rustls::pki_types::CertificateDer;
use tokio::sync::watch;

/// Who signs SVIDs.
pub trait Issuer: Send + Sync {
    /// Signs a certificate for the key of the request. The chain begins with the leaf and ends before the root.
    fn issue<'a>(
        &'a self,
        request: &'a SigningRequest,
    ) -> BoxFuture<'a, Result<Vec<CertificateDer<'static>>, IssueError>>;

    /// Who stands behind the chains, now and after every change.
    fn authorities(&self) -> watch::Receiver<Arc<Authorities>>;
}

/// Who stands behind the chains of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The roots of the trust domain.
    pub bundle: TrustBundle,
    /// The signing certificates between a leaf and a root: those that sign, will sign, or have signed what is still in use.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// The one that signs now.
    pub signing: CertificateDer<'static>,
}

/// What is asked of an issuer: everything but the private key.
#[derive(Debug)]
pub struct SigningRequest {
    spiffe_id: SpiffeId,
    dns_names: Vec<String>,
    ttl: Duration,
    public_key: PublicKey,
    proof: Vec<u8>,
}

impl SigningRequest {
    /// Asks for an identity on a key, with a signature by it.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn new(
        spiffe_id: SpiffeId,
        dns_names: Vec<String>,
        ttl: Duration,
        key: &PrivateKey,
    ) -> Result<Self, KeyError> {
        let public_key = key.public_key().clone();
        let proof = key.sign(&proof_text(&spiffe_id, &public_key))?;
        Ok(Self {
            spiffe_id,
            dns_names,
            ttl,
            public_key,
            proof,
        })
    }

    /// The identity asked for.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// The DNS names asked for beside it.
    pub fn dns_names(&self) -> &[String] {
        &self.dns_names
    }

    /// The lifetime asked for.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Returns the public key once its proof holds.
    ///
    /// # Errors
    /// Whoever asks does not have the private half.
    pub fn proven_key(&self) -> Result<&PublicKey, IssueError> {
        let text = proof_text(&self.spiffe_id, &self.public_key);
        self.public_key
            .verify(&text, &self.proof)
            .map_err(|source| IssueError::Unproven { source })?;
        Ok(&self.public_key)
    }
}

/// Checks that a chain is what was asked for, and that it holds at `now`.
///
/// # Errors
/// Another identity, another key, a leaf that breaks a rule, or a chain that does not reach the bundle.
pub fn check_chain(
    chain: &[CertificateDer<'static>],
    request: &SigningRequest,
    bundle: &TrustBundle,
    now: SystemTime,
) -> Result<Leaf, IssueError> {
    let (leaf_der, intermediates) = chain.split_first().ok_or(IssueError::NoChain)?;
    let leaf = Leaf::parse(leaf_der).map_err(|source| IssueError::Leaf { source })?;
    if leaf.spiffe_id != request.spiffe_id {
        return Err(IssueError::WrongIdentity {
            wanted: request.spiffe_id.clone(),
            got: leaf.spiffe_id,
        });
    }
    if leaf.public_key != request.public_key {
        return Err(IssueError::WrongKey);
    }
    x509_svid::verify_chain(leaf_der, intermediates, bundle, now)
        .map_err(|source| IssueError::Chain { source })?;
    Ok(leaf)
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The request's signature is not by the request's key.
    #[error("the request does not prove its private key")]
    Unproven {
        /// What did not verify.
        #[source]
        source: identity::public_key::BadSignature,
    },
    /// The issuer cannot sign now.
    #[error("the issuer cannot sign: {detail}")]
    Unavailable {
        /// What it lacks.
        detail: String,
    },
    /// A DNS name or the identity cannot be written into a certificate.
    #[error("the certificate cannot be written")]
    Encoding {
        /// What cannot be encoded.
        #[source]
        source: rcgen::Error,
    },
    /// The issuer gave no certificate at all.
    #[error("the issuer returned no certificate")]
    NoChain,
    /// The issuer's leaf breaks a rule.
    #[error("the issuer returned a certificate that is no X.509-SVID")]
    Leaf {
        /// The broken rule.
        #[source]
        source: InvalidLeaf,
    },
    /// The issuer answered, but not for the identity that was asked for.
    #[error("the issuer returned a certificate for `{got}`, wanted `{wanted}`")]
    WrongIdentity {
        /// What was asked for.
        wanted: SpiffeId,
        /// What came.
        got: SpiffeId,
    },
    /// The issuer answered for another key.
    #[error("the issuer returned a certificate for another key")]
    WrongKey,
    /// The chain does not hold.
    #[error("the issuer returned a chain that does not hold")]
    Chain {
        /// Where it breaks.
        #[source]
        source: UntrustedChain,
    },
}

fn proof_text(spiffe_id: &SpiffeId, public_key: &PublicKey) -> Vec<u8> {
    let mut text = PROOF_CONTEXT.to_vec();
    text.extend_from_slice(spiffe_id.as_str().as_bytes());
    text.push(0);
    text.extend_from_slice(public_key.spki_der());
    text
}

/// Keeps a proof from being a signature of anything else.
const PROOF_CONTEXT: &[u8] = b"countersign signing request v1\0";
