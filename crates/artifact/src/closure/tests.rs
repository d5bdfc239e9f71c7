use super::*;

fn key(repository: &str, policy: &str) -> ClosureKey {
    ClosureKey {
        host: "localhost".to_owned(),
        repository: Repository::parse(repository).unwrap(),
        policy_hash: policy.to_owned(),
    }
}

fn digest(name: &str) -> Digest {
    Digest::sha256_of(name.as_bytes())
}

fn closures() -> Closures {
    Closures::empty("/nowhere")
}

#[test]
fn a_manifest_and_its_members_are_inside() {
    let closures = closures();
    let here = key("a/b", "p");
    closures.remember(&here, &digest("manifest"), [digest("layer")]);
    for name in ["manifest", "layer"] {
        assert_eq!(
            closures.admits(&here, &digest(name)),
            Closure::Inside(vec![digest("manifest")])
        );
    }
}

#[test]
fn another_repository_or_policy_is_unknown() {
    let closures = closures();
    closures.remember(&key("a/b", "p"), &digest("manifest"), [digest("layer")]);
    for other in [key("a/c", "p"), key("a/b", "q")] {
        assert_eq!(closures.admits(&other, &digest("layer")), Closure::Unknown);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stray_digest_is_unknown_until_derived_and_again_afterwards() {
    let closures = closures();
    let here = key("a/b", "p");
    closures.remember(&here, &digest("manifest"), []);
    assert_eq!(closures.admits(&here, &digest("stray")), Closure::Unknown);
    closures.derived(&here);
    assert_eq!(closures.admits(&here, &digest("stray")), Closure::Outside);
    assert_eq!(
        closures.admits(&key("a/c", "p"), &digest("stray")),
        Closure::Unknown
    );
    tokio::time::advance(DERIVED_FOR).await;
    assert_eq!(closures.admits(&here, &digest("stray")), Closure::Unknown);
}

#[test]
fn a_shared_layer_stays_inside_when_one_of_its_manifests_changes() {
    let closures = closures();
    let here = key("a/b", "p");
    closures.remember(&here, &digest("one"), [digest("shared"), digest("own")]);
    closures.remember(&here, &digest("two"), [digest("shared")]);
    let mut both = vec![digest("one"), digest("two")];
    both.sort();
    assert_eq!(
        closures.admits(&here, &digest("shared")),
        Closure::Inside(both),
        "who may judge it is not for its digest to say"
    );
    closures.remember(&here, &digest("one"), []);
    assert_eq!(
        closures.admits(&here, &digest("shared")),
        Closure::Inside(vec![digest("two")])
    );
    assert_eq!(closures.admits(&here, &digest("own")), Closure::Unknown);
}

#[test]
fn the_oldest_manifest_is_forgotten_first() {
    let closures = closures();
    let here = key("a/b", "p");
    for n in 0..=MAX_MANIFESTS {
        closures.remember(&here, &digest(&n.to_string()), []);
    }
    assert_eq!(closures.admits(&here, &digest("0")), Closure::Unknown);
    assert_eq!(
        closures.admits(&here, &digest("1")),
        Closure::Inside(vec![digest("1")])
    );
}

#[test]
fn a_new_policy_forgets_the_old() {
    let closures = closures();
    closures.remember(&key("a/b", "old"), &digest("manifest"), []);
    closures.remember(&key("a/b", "new"), &digest("manifest"), []);
    closures.retain_policy("new");
    assert_eq!(
        closures.admits(&key("a/b", "old"), &digest("manifest")),
        Closure::Unknown
    );
    assert_eq!(
        closures.admits(&key("a/b", "new"), &digest("manifest")),
        Closure::Inside(vec![digest("manifest")])
    );
}

#[test]
fn closures_are_there_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("closures.json");
    let here = key("a/b", "p");
    let closures = Closures::open(&path).unwrap();
    closures.remember(&here, &digest("manifest"), [digest("layer")]);
    closures.persist().unwrap();
    closures.persist().unwrap();

    let again = Closures::open(&path).unwrap();
    assert_eq!(
        again.admits(&here, &digest("layer")),
        Closure::Inside(vec![digest("manifest")])
    );
    assert_eq!(again.path(), path);
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );
}

#[test]
fn a_broken_file_is_an_error_and_not_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("closures.json");
    std::fs::write(&path, b"[{}]").unwrap();
    assert!(matches!(
        Closures::open(&path),
        Err(ClosureFileError::Json { .. })
    ));
    assert!(matches!(
        Closures::open(directory.path()),
        Err(ClosureFileError::Io { .. })
    ));
    assert!(matches!(
        Closures::empty("/nowhere/closures.json").persist(),
        Err(ClosureFileError::Io { .. })
    ));
}

#[tokio::test]
async fn only_something_new_is_worth_persisting() {
    let closures = closures();
    let here = key("a/b", "p");
    closures.remember(&here, &digest("manifest"), [digest("layer")]);
    closures.changed().await;
    closures.remember(&here, &digest("manifest"), [digest("layer")]);
    let waited = tokio::time::timeout(Duration::from_millis(10), closures.changed()).await;
    assert!(waited.is_err());
}
