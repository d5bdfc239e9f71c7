//! Why the embedded CA cannot be used.

use std::path::PathBuf;

use identity::{
    InvalidPem,
    private_key::{InvalidPrivateKey, KeyError},
    spiffe_id::TrustDomain,
    x509_svid::{InvalidAuthority, UntrustedChain},
};

/// Why the embedded CA cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file could not be read or written.
    #[error("`{file}` cannot be used")]
    File {
        /// Which.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Somebody else could read a private key.
    #[error("`{file}` must belong to root and be readable by nobody else")]
    Exposed {
        /// The key's file.
        file: PathBuf,
    },
    /// `ca init` never replaces a root.
    #[error("`{file}` exists already; a root is never overwritten")]
    Exists {
        /// The file in the way.
        file: PathBuf,
    },
    /// A key's file holds something else.
    #[error("`{file}` is not a private key that can sign")]
    InvalidKey {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: InvalidPrivateKey,
    },
    /// A certificate's file holds something else.
    #[error("`{file}` is not one certificate")]
    InvalidCertificate {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        #[source]
        source: InvalidPem,
    },
    /// A certificate's file holds none, or several where there must be one.
    #[error("`{file}` must hold exactly one certificate")]
    NotOneCertificate {
        /// Which.
        file: PathBuf,
    },
    /// A root or an intermediate breaks a rule of signing certificates.
    #[error("the {what} is not a signing certificate")]
    InvalidAuthority {
        /// Root or intermediate.
        what: &'static str,
        /// The broken rule.
        #[source]
        source: InvalidAuthority,
    },
    /// The root says that it is another trust domain's.
    #[error("the root is of no trust domain, or of another than `{wanted}`")]
    WrongTrustDomain {
        /// The configured one.
        wanted: TrustDomain,
    },
    /// The root cannot be a bundle.
    #[error("the root is not a trust bundle")]
    Bundle {
        /// What is wrong.
        #[source]
        source: identity::trust_bundle::InvalidTrustBundle,
    },
    /// The intermediate does not hold under the root now.
    #[error("the intermediate does not hold")]
    Intermediate {
        /// Where it breaks.
        #[source]
        source: UntrustedChain,
    },
    /// A stolen intermediate must age out soon.
    #[error("the intermediate lives longer than 7 days")]
    TooLong,
    /// The key and the certificate are of two different renewals.
    #[error("the intermediate's key is not the key of its certificate")]
    Mismatch,
    /// No key could be made or used.
    #[error("no key could be made")]
    Key {
        /// Why.
        #[source]
        source: KeyError,
    },
    /// A certificate could not be encoded or signed.
    #[error("the certificate cannot be written")]
    Encoding {
        /// What rcgen said.
        #[source]
        source: rcgen::Error,
    },
}
