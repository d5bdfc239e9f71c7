//! Why an agent's stream, or one thing it said, is refused.

use evidence::binding::InvalidBatch;
use identity::spiffe_id::SpiffeId;
use identity::x509_svid::{InvalidLeaf, UntrustedChain};
use tonic::{Code, Status};

/// Why a stream ends. The agent opens another; what it said before stays.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The peer's certificate proves an identity that is not on the roster.
    #[error("`{0}` is no agent of the roster")]
    UnknownAgent(SpiffeId),
    /// No bundle for the agent's trust domain.
    #[error("no trust bundle for the trust domain of `{0}`")]
    NoBundle(SpiffeId),
    /// A stream begins with a hello, which was something else or nothing.
    #[error("the stream does not begin with a hello")]
    HelloExpected,
    /// A message came where it has no place.
    #[error("a {0} has no place here")]
    OutOfPlace(&'static str),
    /// A message holds nothing.
    #[error("the message is empty")]
    Empty,
    /// An intermediate does not chain to the operator's root.
    #[error("an intermediate is not signed by the operator's root")]
    Intermediate(#[source] UntrustedChain),
    /// More intermediates than any chain has.
    #[error("{0} intermediates are too many")]
    TooManyIntermediates(usize),
    /// A batch came without the certificate of the key that signed it.
    #[error("the batch has no certificate chain")]
    ChainMissing,
    /// The certificate with the batch is no X509-SVID.
    #[error("the batch's certificate is not an X509-SVID")]
    Leaf(#[source] InvalidLeaf),
    /// The certificate with the batch does not chain to the operator's root.
    #[error("the batch's certificate is not trusted")]
    Chain(#[source] UntrustedChain),
    /// The batch is signed by somebody else.
    #[error("the batch is signed by `{got}`")]
    WrongSigner {
        /// Who signed.
        got: SpiffeId,
    },
    /// The batch does not open with the agent's key.
    #[error("the batch does not open")]
    Batch(#[source] InvalidBatch),
    /// The batch speaks for another node.
    #[error("the batch speaks for `{got}`")]
    WrongNode {
        /// For whom.
        got: SpiffeId,
    },
    /// A batch is missing, or came twice.
    #[error("batch {got} came where {wanted} was due")]
    SequenceGap {
        /// The number that came.
        got: u64,
        /// The number that was due.
        wanted: u64,
    },
    /// The agent opened another stream, or the process stops.
    #[error("the stream is no longer heard")]
    NotHeard,
    /// The connection broke.
    #[error("the stream broke")]
    Broken(#[source] Status),
}

impl Refused {
    /// The cause as a metric's attribute.
    pub const fn cause(&self) -> &'static str {
        match self {
            Self::UnknownAgent(_) => "unknown-agent",
            Self::NoBundle(_) => "no-bundle",
            Self::HelloExpected | Self::OutOfPlace(_) | Self::Empty => "out-of-place",
            Self::Intermediate(_) | Self::TooManyIntermediates(_) => "intermediate",
            Self::ChainMissing | Self::Leaf(_) | Self::Chain(_) => "chain",
            Self::WrongSigner { .. } => "wrong-signer",
            Self::Batch(_) => "batch",
            Self::WrongNode { .. } => "wrong-node",
            Self::SequenceGap { .. } => "sequence-gap",
            Self::NotHeard => "not-heard",
            Self::Broken(_) => "broken",
        }
    }

    /// The status that ends the stream.
    pub fn status(&self) -> Status {
        let code = match self {
            Self::UnknownAgent(_) | Self::NoBundle(_) => Code::PermissionDenied,
            Self::ChainMissing
            | Self::Leaf(_)
            | Self::Chain(_)
            | Self::WrongSigner { .. }
            | Self::Batch(_) => Code::Unauthenticated,
            Self::HelloExpected
            | Self::OutOfPlace(_)
            | Self::Empty
            | Self::Intermediate(_)
            | Self::TooManyIntermediates(_)
            | Self::WrongNode { .. } => Code::InvalidArgument,
            Self::SequenceGap { .. } => Code::OutOfRange,
            Self::NotHeard => Code::Aborted,
            Self::Broken(_) => Code::Unavailable,
        };
        Status::new(code, self.to_string())
    }
}
