//! Patterns of identities, paths and hosts: `*` is one whole segment, `**` any number. There are no regular expressions.
//!
//! Matching is total: any text either matches or does not, whatever bytes it holds, in time bounded by the product of the lengths.
//! Matching is exact. A name that is not in canonical form must be refused before it is matched.

mod host;
mod identity;
mod path;
mod segments;

pub(crate) use host::is_dns_name;
pub use host::{HostPattern, InvalidHostPattern};
pub use identity::{IdentityPattern, InvalidIdentityPattern};
pub use path::{InvalidPathPattern, PathPattern};

/// Longest pattern in bytes: that of a SPIFFE ID.
pub const MAX_PATTERN_BYTES: usize = 2048;

#[cfg(test)]
mod tests;
