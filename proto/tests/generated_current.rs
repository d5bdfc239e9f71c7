//! Holds `src/gen` to the `.proto` files; with `UPDATE_GENERATED` set, writes it anew instead.

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message as _;

/// Every `.proto` file, under the name of its descriptors.
const FILES: [(&str, &str); 4] = [
    ("workload", "spiffe/workload/workload.proto"),
    ("feed", "countersign/feed/v1/feed.proto"),
    ("agent", "countersign/agent/v1/agent.proto"),
    ("authz", "countersign/authz/v1/authz.proto"),
];

/// Messages that hold a private key: their `Debug` is written by hand.
const SECRET: [&str; 2] = [".X509SVID", ".X509SVIDResponse"];

#[test]
fn generated_code_is_current() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen");
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        generate(&committed);
        return;
    }
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    let fresh = files(fresh.path());
    let committed = files(&committed);
    assert_eq!(
        fresh.keys().collect::<Vec<_>>(),
        committed.keys().collect::<Vec<_>>(),
        "run `cargo xtask generate`"
    );
    for (name, bytes) in &fresh {
        assert!(
            committed.get(name) == Some(bytes),
            "`{name}` is not current: run `cargo xtask generate`"
        );
    }
}

/// Writes the Rust code and the descriptors of every file into `directory`.
fn generate(directory: &Path) {
    for (name, file) in FILES {
        tonic_prost_build::configure()
            .out_dir(directory)
            .emit_rerun_if_changed(false)
            .skip_debug(SECRET)
            .compile_fds(compile(file, Comments::Kept))
            .unwrap();
        let descriptors = compile(file, Comments::Dropped).encode_to_vec();
        fs::write(directory.join(format!("{name}.binpb")), descriptors).unwrap();
    }
    // The Workload API's file has no package.
    fs::rename(directory.join("_.rs"), directory.join("spiffe.workload.rs")).unwrap();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comments {
    Kept,
    Dropped,
}

fn compile(file: &str, comments: Comments) -> prost_types::FileDescriptorSet {
    let mut compiler = protox::Compiler::new([env!("CARGO_MANIFEST_DIR")]).unwrap();
    compiler
        .include_imports(true)
        .include_source_info(comments == Comments::Kept)
        .open_file(file)
        .unwrap();
    compiler.file_descriptor_set()
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}
