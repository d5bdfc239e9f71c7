//! Our gRPC, generated from the `.proto` files beside this crate.
//!
//! `cargo xtask generate` writes `src/gen` anew; `tests/generated_current.rs` holds it to the `.proto` files.

/// The SPIFFE Workload API, as `spiffe/workload/workload.proto` has it.
pub mod workload {
    include!("gen/spiffe.workload.rs");

    use std::fmt;

    /// Encoded descriptors, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/workload.binpb");

    impl fmt::Debug for X509svid {
        /// Prints the identity, never the key.
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("X509svid")
                .field("spiffe_id", &self.spiffe_id)
                .field("x509_svid_key", &"<redacted>")
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for X509svidResponse {
        /// Prints the identities, never a key.
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("X509svidResponse")
                .field("svids", &self.svids)
                .finish_non_exhaustive()
        }
    }
}

/// The feed from a cert-agent to an authz-service.
pub mod feed {
    include!("gen/countersign.feed.v1.rs");

    /// Encoded descriptors, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/feed.binpb");
}

/// What an operator asks of a cert-agent.
pub mod agent {
    include!("gen/countersign.agent.v1.rs");

    /// Encoded descriptors, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/agent.binpb");
}

/// What an operator asks of an authz-service.
pub mod authz {
    include!("gen/countersign.authz.v1.rs");

    /// Encoded descriptors, for gRPC server reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/authz.binpb");
}
