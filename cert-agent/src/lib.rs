//! The agent of one node: attests its workloads, gives each the identity its verified signature earns, and feeds what it did to every authz-service.

pub mod admin;
pub mod admit;
pub mod app;
pub mod cli;
pub mod config;
mod descriptors;
pub mod entitle;
pub mod exec;
pub mod feed;
pub mod grants;
pub mod handout;
pub mod issuer;
pub mod judge;
pub mod metrics;
pub mod policy_directory;
pub mod refusals;
pub mod rotation;
pub mod swapped;
pub mod workload;
