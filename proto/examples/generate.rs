//! Writes `src/gen` anew: `cargo run --package countersign-proto --example generate`.

use std::{io, path::Path};

#[path = "../generator.rs"]
mod generator;

fn main() -> io::Result<()> {
    generator::generate(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen"))
}
