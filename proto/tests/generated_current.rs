//! The committed code is what the `.proto` files say.

use std::{collections::BTreeMap, fs, path::Path};

#[path = "../generator.rs"]
mod generator;

#[test]
fn generated_code_is_current() {
    let fresh = tempfile::tempdir().unwrap();
    generator::generate(fresh.path()).unwrap();
    let fresh = files(fresh.path());
    let committed = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/gen"));
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
