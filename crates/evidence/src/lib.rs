//! Signed bytes, and what they prove about a digest.
//!
//! [`Evidence`] is the raw, self-authenticating form; [`verify()`] turns it into [`Vouched`], which says who signed what and knows no policy.
//! [`binding`] holds the other signed statement of the system: which workload runs which digest and holds which key.
//!
//! Core: no clock, no I/O, no locks, no logging.

mod base64_bytes;
pub mod binding;
pub mod digest;
pub mod dsse;
mod form;
mod rfc3339;
pub mod signer;
pub mod sigstore_bundle;
pub mod simple_signing;
pub mod statement;
pub mod verify;
pub mod vouched;

pub use digest::{Digest, InvalidDigest};
pub use form::{
    Evidence, InvalidEvidence, MAX_EVIDENCE_BYTES, MAX_EVIDENCE_PIECES, MAX_EVIDENCE_TOTAL_BYTES,
};
pub use signer::SignerSet;
pub use verify::verify;
pub use vouched::{Cause, Claims, Format, Rejection, Signature, Vouched};
