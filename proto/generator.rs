//! Owns the making of `src/gen` from the `.proto` files, for the example that writes it and the test that compares it.

use std::{fs, io, path::Path};

use prost::Message as _;

/// Every `.proto` file, under the name of its module and of its descriptors.
const FILES: [(&str, &str); 4] = [
    ("workload", "spiffe/workload/workload.proto"),
    ("feed", "countersign/feed/v1/feed.proto"),
    ("agent", "countersign/agent/v1/agent.proto"),
    ("authz", "countersign/authz/v1/authz.proto"),
];

/// Messages that hold a private key: their `Debug` is written by hand.
const SECRET: [&str; 2] = [".X509SVID", ".X509SVIDResponse"];

/// Writes the Rust code and the descriptors of every file into `directory`.
pub fn generate(directory: &Path) -> io::Result<()> {
    for (name, file) in FILES {
        let with_comments = compile(file, Comments::Kept)?;
        tonic_prost_build::configure()
            .out_dir(directory)
            .emit_rerun_if_changed(false)
            .skip_debug(SECRET)
            .compile_fds(with_comments)?;
        let descriptors = compile(file, Comments::Dropped)?;
        fs::write(
            directory.join(format!("{name}.binpb")),
            descriptors.encode_to_vec(),
        )?;
    }
    // The Workload API's file has no package.
    fs::rename(directory.join("_.rs"), directory.join("spiffe.workload.rs"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    Kept,
    Dropped,
}

fn compile(file: &str, comments: Comments) -> io::Result<prost_types::FileDescriptorSet> {
    let mut compiler =
        protox::Compiler::new([env!("CARGO_MANIFEST_DIR")]).map_err(io::Error::other)?;
    compiler
        .include_imports(true)
        .include_source_info(comments == Comments::Kept)
        .open_file(file)
        .map_err(io::Error::other)?;
    Ok(compiler.file_descriptor_set())
}
