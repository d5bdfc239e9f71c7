//! What the tests and the demo share: callers, signers, recorded images, real programs, and the demo itself.

pub mod attackers;
pub mod clock;
pub mod demo;
pub mod envoy;
pub mod forge;
pub mod images;
pub mod otlp;
pub mod process;
pub mod signer;
pub mod wire;
pub mod workspace;
