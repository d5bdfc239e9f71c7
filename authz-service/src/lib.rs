//! The policy decision point: everything behind the `authz-service` command, as a library so that tests build it too.

pub mod admin;
pub mod app;
pub mod caller;
pub mod check;
pub mod cli;
pub mod config;
pub mod decide;
pub mod denial;
pub mod explain;
pub mod ext_authz;
pub mod feed;
pub mod pull;
pub mod question;
pub mod record;
pub mod reload;
pub mod snapshot;
pub mod target;
#[cfg(test)]
mod testing;
