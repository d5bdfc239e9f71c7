//! EDGE. Envoy's external authorization: bytes off the wire in, one `CheckResponse` out, whatever happens between.

#[cfg(test)]
mod fake_judge;
pub mod framing;
pub mod judge;
pub mod listener;
pub mod request;
pub mod response;
pub mod service;
