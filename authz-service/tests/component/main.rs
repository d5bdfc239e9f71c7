//! Component tests: the service as a library, with everything around it real or in this process.
#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "test code"
)]

mod cli;
mod explain;
mod feed;
mod lifecycle;
mod pull;
mod records;
mod support;
mod wire;
