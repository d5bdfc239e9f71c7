//! How a workload is handed its SVIDs: by the Workload API, by Envoy SDS, or as files.

mod budget;
pub mod connection;
pub mod counter;
pub mod files;
pub mod routes;
pub mod sds;
pub mod svid;
pub mod workload_api;
