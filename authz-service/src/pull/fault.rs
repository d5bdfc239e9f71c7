//! From what went wrong at a registry to the reason of a denial.

use artifact::ArtifactError;
use policy::reason::Reason;

use crate::denial::Denial;

/// The denial for an artifact that could not be found or verified.
pub(super) fn denial(error: &ArtifactError) -> Denial {
    Denial::new(reason(error), daemon::chain(error))
}

fn reason(error: &ArtifactError) -> Reason {
    match error {
        ArtifactError::NotFound { .. } => Reason::ArtifactNotFound,
        ArtifactError::NotConfigured { .. }
        | ArtifactError::Unreachable { .. }
        | ArtifactError::Answered { .. } => Reason::RegistryUnreachable,
        ArtifactError::Malformed { .. }
        | ArtifactError::DigestMismatch { .. }
        | ArtifactError::TooLarge { .. } => Reason::ArtifactMalformed,
        ArtifactError::Accept => Reason::RequestMalformed,
        ArtifactError::Deadline { .. } => Reason::Deadline,
        ArtifactError::Overloaded => Reason::Overloaded,
        ArtifactError::Interrupted => Reason::Internal,
    }
}
