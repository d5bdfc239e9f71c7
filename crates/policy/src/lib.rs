//! The operator's language: policy documents, what they compile to, and the reasons of every refusal.
//!
//! Pure: text in, values out. The shell reads the files and brings the time.

pub mod compile;
mod document;
pub mod error;
pub mod grant;
pub mod pattern;
pub mod policy;
pub mod reason;
pub mod requirement;
pub mod rule;
pub mod signature_policy;
pub mod source;

pub use crate::compile::compile;
pub use crate::error::{PolicyError, PolicyErrors, Problem};
pub use crate::grant::{Grant, Selector};
pub use crate::pattern::{HostPattern, IdentityPattern, PathPattern};
pub use crate::policy::Policy;
pub use crate::reason::{Kind, Party, Reason};
pub use crate::requirement::{RequiredClaims, Requirement, Unmet};
pub use crate::rule::{AccessRule, Callers, Effect, RegistryAction, Targets};
pub use crate::signature_policy::SignaturePolicy;
pub use crate::source::PolicySource;
