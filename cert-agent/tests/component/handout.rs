//! The Workload API and SDS on a real socket, asked as their clients ask.

mod connection;
mod sds;
mod socket;
mod workload_api;
