//! What is read again while the program runs: the policy directory and the operator's roots. A broken one changes nothing.

pub mod bundles;
pub mod policy;
