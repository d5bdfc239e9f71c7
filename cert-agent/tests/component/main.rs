//! The agent's rooms with real kernels, sockets and programs around them. Needs root, like the agent.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod agent;
mod handout;
mod program;
mod replica;
mod rotation;
mod workload;
