//! What the tests and the demo share: callers, signers, recorded images, real programs, and the demo itself.

pub mod process;
pub mod wire;
