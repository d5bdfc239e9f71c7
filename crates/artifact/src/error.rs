//! What can go wrong between a reference and what is vouched for it.

use std::sync::Arc;

use evidence::Digest;

use crate::manifest::InvalidManifest;

/// Why there is no answer about an artifact. Cheap to clone: one failed fetch answers everyone who waits for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArtifactError {
    /// No registry is configured under this host; we connect to no other.
    #[error("no registry is configured for host `{host}`")]
    NotConfigured {
        /// The host as asked.
        host: String,
    },
    /// The registry answered that it is not there.
    #[error("{what} does not exist")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// There was no answer, or not all of one.
    #[error("{what} could not be fetched")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// The transport's own error.
        #[source]
        source: Arc<reqwest::Error>,
    },
    /// The registry answered with a status that says nothing about the artifact: an error, a redirect, a demand for credentials.
    #[error("{what} was answered with status {status}")]
    Answered {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// The answer is not what it should be.
    #[error("{what} is malformed")]
    Malformed {
        /// What was asked for.
        what: String,
        /// The broken rule.
        #[source]
        source: Arc<InvalidAnswer>,
    },
    /// The bytes are not the ones that were asked for.
    #[error("{what} hashes to {got}")]
    DigestMismatch {
        /// What was asked for.
        what: String,
        /// What came.
        got: Digest,
    },
    /// It is larger than, or more than, what we read.
    #[error("{what} exceeds the limit of {limit}")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// The limit, in the unit that `what` names.
        limit: usize,
    },
    /// The client's Accept header cannot be passed on.
    #[error("the Accept header cannot be passed on")]
    Accept,
    /// The time for it is over. Work that others may use goes on.
    #[error("{what} took too long")]
    Deadline {
        /// What was asked for.
        what: String,
    },
    /// Too much is being fetched already.
    #[error("too many artifacts are being verified")]
    Overloaded,
    /// The task that fetches has ended, or failed on this artifact.
    #[error("the verification was interrupted")]
    Interrupted,
}

/// Why a registry's answer is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAnswer {
    /// A manifest or an index breaks a rule.
    #[error(transparent)]
    Manifest(#[from] InvalidManifest),
    /// A signature layer carries no signature.
    #[error("the signature layer has no `{annotation}` annotation")]
    NoSignature {
        /// The annotation that should hold it.
        annotation: &'static str,
    },
    /// A signature layer's signature is not base64.
    #[error("the signature annotation is not base64")]
    SignatureNotBase64 {
        /// The offending character or length.
        #[source]
        source: base64::DecodeError,
    },
    /// The next page is not the same list at the same registry.
    #[error("the next page is at `{link}`, outside the list")]
    NextPageElsewhere {
        /// The target of the link.
        link: String,
    },
    /// A list of referrers is not an index.
    #[error("not an index")]
    NotAnIndex,
    /// A list of tags does not read.
    #[error("not the JSON of a tag list")]
    TagList {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
}

impl ArtifactError {
    /// The answer about `what` broke a rule.
    pub(crate) fn malformed(what: impl Into<String>, source: impl Into<InvalidAnswer>) -> Self {
        Self::Malformed {
            what: what.into(),
            source: Arc::new(source.into()),
        }
    }

    /// True if the registry said that it is not there, which is absence and not failure.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
