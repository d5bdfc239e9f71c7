//! What any daemon of ours needs: time, tasks and their end, readiness, health, telemetry, sockets and TLS.

pub mod atomic_file;
pub mod backoff;
pub mod clock;
pub mod error_chain;
pub mod health;
pub mod last_good;
pub mod lifecycle;
pub mod metrics;
pub mod readiness;
pub mod telemetry;
pub mod tls;
pub mod unix_socket;
pub mod watch_dir;

pub use crate::{
    backoff::Backoff,
    clock::{Clock, SystemClock},
    error_chain::chain,
    lifecycle::{Lifecycle, Outcome},
    readiness::Readiness,
};
