//! Compiles the policies that we ship and show, with keys made on the spot.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::path::{Path, PathBuf};

use countersign_policy::{Policy, PolicyErrors, PolicySource, Problem, compile};
use identity::PrivateKey;

#[test]
fn demo_policy_compiles() {
    let file = workspace().join("tests/kit/policy/demo.yaml");
    let policy = compile_with_keys(&file).unwrap_or_else(|errors| panic!("{errors}"));
    assert!(
        policy
            .grants()
            .iter()
            .any(|grant| *grant.name == *"frontend")
    );
    assert!(
        policy
            .rules()
            .iter()
            .any(|rule| *rule.name == *"web-charges")
    );
}

/// Every key file that is missing is given a new key; everything else must be right as it is.
fn compile_with_keys(file: &Path) -> Result<Policy, PolicyErrors> {
    let text = std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut source = PolicySource::from_iter([("policy.yaml".to_owned(), text)]);
    let Err(errors) = compile(&source) else {
        panic!("a policy without signers")
    };
    for error in errors.iter() {
        if let Problem::NoSuchFile { path } = &error.problem {
            let pem = PrivateKey::generate().unwrap().public_key().to_pem();
            source.files.insert(path.clone(), pem.into_bytes());
        }
    }
    compile(&source)
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}
