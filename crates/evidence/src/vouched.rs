//! What verified evidence proves about one digest.

use std::collections::BTreeMap;

use identity::public_key::SpkiHash;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Who signed `subject`, and what else was offered as evidence and why it counts for nothing.
///
/// It knows no policy: whether these signatures are enough is asked of it, and asked again when the policy changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Vouched {
    /// The digest that every signature below is about.
    pub subject: Digest,
    /// Verified signatures; one key may appear more than once.
    pub signatures: Vec<Signature>,
    /// Evidence that proved nothing, with the cause.
    pub rejected: Vec<Rejection>,
}

/// One verified signature over the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signature {
    /// The key that verified it.
    pub signer: SpkiHash,
    /// What the signed bytes say that the subject is.
    pub claims: Claims,
    /// The form that the signature came in.
    pub format: Format,
}

/// What signed bytes say about the subject besides its digest. Nothing here comes from outside the signature.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claims {
    /// The repository of the payload's docker-reference, without tag or digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Names that the statement gives the subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Annotations, as of `cosign sign -a`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// The forms that a signature may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// cosign's legacy payload with a detached signature.
    SimpleSigning,
    /// A Sigstore bundle signed by a key.
    SigstoreBundle,
    /// An in-toto statement in a DSSE envelope.
    Dsse,
}

/// One piece of evidence that proved nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rejection {
    /// Why it counts for nothing.
    pub cause: Cause,
    /// The same for a reader, with what was found.
    pub detail: String,
}

/// Why a piece of evidence counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// It is not what its form demands, or is too large to read.
    Malformed,
    /// No trusted key verifies the signature, and nothing says that another key made it.
    SignatureInvalid,
    /// It names a key that is not trusted.
    SignerUntrusted,
    /// The signature is good, and about another digest.
    SubjectMismatch,
}
