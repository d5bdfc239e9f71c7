//! The registry client against a real HTTP server on loopback that answers as it is told: well, badly, or not at all.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod discover;
mod fake;
mod recorded;
mod resolve;
mod tls;
mod vouch;
