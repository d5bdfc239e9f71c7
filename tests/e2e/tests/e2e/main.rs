//! Real programs, real sockets, real signals: what only the whole system can show.
//!
//! Each test needs root, the tools of `cargo xtask setup`, and the programs that `cargo xtask test` builds.

mod demo;
mod explaining;
mod issuing;
mod operating;
mod samples;
mod stage;
mod tracing;
