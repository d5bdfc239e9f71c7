//! From a reference to a digest to what is vouched for it: registries, evidence on disk, and which blobs belong to what.
//!
//! An edge: it turns the OCI distribution protocol and files into the core types of `evidence`. Absent, invalid and unreachable stay three results.

pub mod closure;
mod durable;
pub mod error;
pub mod manifest;
pub mod reference;
pub mod registry;
pub mod source;
pub mod vouch;

pub use closure::{Closure, ClosureKey, Closures};
pub use error::{ArtifactError, InvalidAnswer};
pub use manifest::{Descriptor, Image, Index, InvalidManifest, Manifest};
pub use reference::{InvalidReference, Reference, Repository, Tag};
pub use registry::{
    Discovery, InvalidRegistry, Members, PlainHttp, Registries, RegistryConfig, Resolved, TagList,
};
pub use source::{DirectorySource, KeptEvidence, SourceError};
pub use vouch::{VouchTask, Voucher};
