//! How much is read from a registry, and for how long.

use std::time::Duration;

/// The largest manifest.
// SPEC(OCI distribution, "Pushing manifests"): registries and clients should support manifests of at least 4 megabytes.
pub const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

/// The most referrers of one digest that are looked at.
pub const MAX_REFERRERS: usize = 64;

/// The most pages of a list of referrers, or of tags.
pub const MAX_PAGES: usize = 8;

/// The most signature layers of one manifest.
pub const MAX_SIGNATURE_LAYERS: usize = 64;

/// The most pieces of evidence of one digest.
pub const MAX_PIECES: usize = evidence::verify::MAX_PIECES;

/// The most bytes of evidence of one digest. A keyed signature is about 2 KiB.
pub const MAX_EVIDENCE_TOTAL: u64 = 4 * 1024 * 1024;

/// The most manifests below an index that are followed. Buildkit writes two for each platform.
pub const MAX_CHILDREN: usize = 128;

/// The most tags of a repository that are listed.
pub const MAX_TAGS: usize = 1024;

/// The largest page of a tag list: 1024 tags of 128 bytes are 134 KiB.
pub const MAX_TAG_LIST_BYTES: usize = 256 * 1024;

/// Requests to one registry that one question has under way at once.
pub const PARALLEL: usize = 8;

/// Time for a connection, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for one request and its whole answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for all evidence of one digest. Askers have deadlines of their own, mostly shorter; what is found late serves the next asker.
pub const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(15);
