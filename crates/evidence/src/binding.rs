//! What a cert-agent says about its workloads, and the signed batches it says it in.

use std::time::SystemTime;

use identity::{
    private_key::{KeyError, PrivateKey},
    public_key::{PublicKey, SpkiHash},
    spiffe_id::SpiffeId,
};
use serde::{Deserialize, Serialize};

use crate::{
    digest::Digest,
    dsse::{Envelope, InvalidEnvelope},
    form::Evidence,
    rfc3339,
};

mod bounds;
#[cfg(test)]
mod tests;

pub use bounds::{MAX_DETAIL_BYTES, MAX_NAME_BYTES, MAX_REASON_BYTES, MAX_REFUSED_DIGESTS};

/// This workload runs these artifacts and holds this identity on this key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    /// The identity.
    pub spiffe_id: SpiffeId,
    /// The hash of the key in the SVID.
    pub spki: SpkiHash,
    /// The agent that says so.
    pub node: SpiffeId,
    /// The workload, by the agent's own name for it.
    pub workload: String,
    /// The grant it was entitled under.
    pub grant: String,
    /// What it runs.
    pub artifacts: Vec<BoundArtifact>,
    /// How it is handed its SVID.
    pub handout: Handout,
    /// From when the binding counts.
    #[serde(with = "rfc3339")]
    pub not_before: SystemTime,
    /// From when it no longer counts.
    #[serde(with = "rfc3339")]
    pub not_after: SystemTime,
}

/// One artifact that a workload runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BoundArtifact {
    /// What it is to the workload.
    pub role: Role,
    /// Every digest it is known by: index, manifest, config, or executable.
    pub digests: Vec<Digest>,
}

/// What an artifact is to its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The program whose requests these are.
    App,
    /// The proxy beside it.
    Proxy,
}

/// How a workload is handed its SVID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Handout {
    /// By the Workload API.
    Api,
    /// By Envoy SDS.
    Sds,
    /// By `cert-agent exec`.
    Exec,
    /// As files.
    File,
}

/// This workload was given no identity, for this reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refusal {
    /// The identity of the grant that nearly matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<SpiffeId>,
    /// The agent that says so.
    pub node: SpiffeId,
    /// The workload, by the agent's own name for it.
    pub workload: String,
    /// The grant that nearly matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// What it runs, as far as that is known.
    pub digests: Vec<Digest>,
    /// The reason's stable code.
    pub reason: String,
    /// The reason for a reader.
    pub detail: String,
    /// When it was refused.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
}

/// One thing an agent says in a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum FeedItem {
    /// A binding that counts from now on.
    Binding(Binding),
    /// The binding of a key no longer counts.
    Withdrawn {
        /// The key.
        spki: SpkiHash,
    },
    /// A workload was refused.
    Refusal(Refusal),
    /// What was found about a digest, to be verified again by the receiver. Several items add up; one without evidence takes back all before it.
    Evidence {
        /// What it is about.
        digest: Digest,
        /// The raw evidence.
        evidence: Vec<Evidence>,
    },
}

/// What one agent says at once, numbered so that a gap or a replay shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Batch {
    /// The agent.
    pub node: SpiffeId,
    /// One more than the batch before, within a stream.
    pub sequence: u64,
    /// What it says, in order.
    pub items: Vec<FeedItem>,
}

/// Why bytes are not a [`Batch`] by the expected agent.
#[derive(Debug, thiserror::Error)]
pub enum InvalidBatch {
    /// The envelope is larger than [`MAX_BATCH_BYTES`].
    #[error("a batch of {got} bytes is larger than {MAX_BATCH_BYTES}")]
    TooLarge {
        /// Its size.
        got: usize,
    },
    /// It is not an envelope.
    #[error("the batch is not in a DSSE envelope")]
    Envelope {
        /// The broken rule.
        #[source]
        source: InvalidEnvelope,
    },
    /// The key did not sign it.
    #[error("the batch is not signed by the agent's key")]
    BadSignature,
    /// What was signed is not a batch.
    #[error("the signed payload is `{got}`, not a batch")]
    WrongType {
        /// Its payload type.
        got: String,
    },
    /// The payload does not read.
    #[error("the batch is not the JSON of one")]
    Json {
        /// Where it stops being one.
        #[source]
        source: serde_json::Error,
    },
    /// It holds more than [`MAX_ITEMS`].
    #[error("a batch of {got} items is longer than {MAX_ITEMS}")]
    TooManyItems {
        /// How many.
        got: usize,
    },
    /// A text that names something is longer than any name.
    #[error("the {field} of an item has {got} bytes, which is too long")]
    TextTooLong {
        /// Which text.
        field: &'static str,
        /// Its length.
        got: usize,
    },
}

/// Why a batch was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It holds more than [`MAX_ITEMS`], and no receiver would open it.
    #[error("a batch of {got} items is longer than {MAX_ITEMS}")]
    TooManyItems {
        /// How many.
        got: usize,
    },
    /// Sealed, it is larger than [`MAX_BATCH_BYTES`], and no receiver would open it.
    #[error("a batch of {got} bytes is larger than {MAX_BATCH_BYTES}")]
    TooLarge {
        /// Its sealed size.
        got: usize,
    },
    /// A text that names something is longer than any name, and no receiver would open it.
    #[error("the {field} of an item has {got} bytes, which is too long")]
    TextTooLong {
        /// Which text.
        field: &'static str,
        /// Its length.
        got: usize,
    },
    /// It has no JSON form: a time is out of range.
    #[error("the batch could not be written")]
    Json {
        /// The offending field.
        #[source]
        source: serde_json::Error,
    },
    /// The key did not sign.
    #[error("the batch could not be signed")]
    Key {
        /// The key's own error.
        #[source]
        source: KeyError,
    },
}

/// The payload type of a batch.
pub const BATCH_TYPE: &str = "application/vnd.countersign.feed.batch.v1+json";

/// The largest sealed batch: below gRPC's default of 4 MiB for one message, with room for the chain beside it.
pub const MAX_BATCH_BYTES: usize = 3 * 1024 * 1024;

/// The most items of one batch: a thousand bindings are about half a megabyte.
pub const MAX_ITEMS: usize = 1024;

impl Batch {
    /// Signs the batch into a DSSE envelope.
    ///
    /// # Errors
    /// [`SealError`] if it is larger than a receiver opens, or the key does not sign.
    pub fn seal(&self, key: &PrivateKey) -> Result<Vec<u8>, SealError> {
        if self.items.len() > MAX_ITEMS {
            return Err(SealError::TooManyItems {
                got: self.items.len(),
            });
        }
        bounds::check(&self.items).map_err(|(field, got)| SealError::TextTooLong { field, got })?;
        let payload = serde_json::to_vec(self).map_err(|source| SealError::Json { source })?;
        let envelope =
            Envelope::sign(BATCH_TYPE, payload, key).map_err(|source| SealError::Key { source })?;
        let sealed = envelope
            .to_json()
            .map_err(|source| SealError::Json { source })?;
        if sealed.len() > MAX_BATCH_BYTES {
            return Err(SealError::TooLarge { got: sealed.len() });
        }
        Ok(sealed)
    }

    /// Opens an envelope that `key` signed. That `node` is the key's owner is for the caller to check.
    ///
    /// # Errors
    /// [`InvalidBatch`]; nothing of the payload is read before its signature is good.
    pub fn open(envelope: &[u8], key: &PublicKey) -> Result<Self, InvalidBatch> {
        if envelope.len() > MAX_BATCH_BYTES {
            return Err(InvalidBatch::TooLarge {
                got: envelope.len(),
            });
        }
        let envelope =
            Envelope::parse(envelope).map_err(|source| InvalidBatch::Envelope { source })?;
        envelope
            .verify(key)
            .map_err(|_bad| InvalidBatch::BadSignature)?;
        if envelope.payload_type() != BATCH_TYPE {
            return Err(InvalidBatch::WrongType {
                got: envelope.payload_type().to_owned(),
            });
        }
        let mut batch: Self = serde_json::from_slice(envelope.payload())
            .map_err(|source| InvalidBatch::Json { source })?;
        if batch.items.len() > MAX_ITEMS {
            return Err(InvalidBatch::TooManyItems {
                got: batch.items.len(),
            });
        }
        bounds::check(&batch.items)
            .map_err(|(field, got)| InvalidBatch::TextTooLong { field, got })?;
        bounds::cut(&mut batch.items);
        Ok(batch)
    }
}
