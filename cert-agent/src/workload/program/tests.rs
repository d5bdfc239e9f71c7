use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
};

use super::*;

fn program(mode: u32) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    fs::copy("/bin/true", &path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    (directory, path)
}

async fn refusal(path: &Path) -> Refused {
    Program::open(path).await.unwrap_err()
}

#[tokio::test]
async fn program_of_root_with_0711_is_opened_and_hashed() {
    let (_directory, path) = program(0o711);
    let opened = Program::open(&path).await.unwrap();
    assert_eq!(
        opened.digest(),
        &Digest::sha256_of(&fs::read(&path).unwrap())
    );
    assert_eq!(opened.path(), path);
}

#[tokio::test]
async fn program_that_others_can_write_or_read_is_refused() {
    for (mode, words) in [
        (0o731, "only root may own and write it"),
        (0o755, "can be debugged"),
        (0o700, "cannot execute"),
        (0o4711, "changes its user"),
    ] {
        let (_directory, path) = program(mode);
        let refused = refusal(&path).await;
        assert_eq!(refused.reason, Reason::WorkloadNotIsolated, "{mode:o}");
        assert!(
            refused.detail.contains(words),
            "{mode:o}: {}",
            refused.detail
        );
        assert_eq!(refused.digests.len(), 1);
    }
}

#[tokio::test]
async fn program_of_another_user_is_refused() {
    let (_directory, path) = program(0o711);
    chown(&path, Some(65_534), Some(65_534)).unwrap();
    assert_eq!(refusal(&path).await.reason, Reason::WorkloadNotIsolated);
}

#[tokio::test]
async fn program_in_a_directory_that_others_can_change_is_refused() {
    let (directory, path) = program(0o711);
    let change = |mode: u32, owner: u32| {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        chown(directory.path(), Some(owner), Some(owner)).unwrap();
    };
    for (mode, owner) in [(0o777, 0), (0o775, 0), (0o755, 65_534), (0o1777, 65_534)] {
        change(mode, owner);
        let refused = refusal(&path).await;
        assert_eq!(refused.reason, Reason::WorkloadNotIsolated, "{mode:o}");
        assert!(refused.detail.contains("on the way"), "{}", refused.detail);
    }
    // With the sticky bit others cannot move what is root's: so it is in the directory for temporary files.
    change(0o1777, 0);
    Program::open(&path).await.unwrap();
}

#[tokio::test]
async fn program_behind_a_link_that_others_can_change_is_refused() {
    let (_directory, path) = program(0o711);
    let links = tempfile::tempdir().unwrap();
    let link = links.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    Program::open(&link).await.unwrap();
    std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).unwrap();
    assert_eq!(refusal(&link).await.reason, Reason::WorkloadNotIsolated);
}

#[tokio::test]
async fn program_changed_after_it_was_hashed_is_no_longer_it() {
    let (_directory, path) = program(0o711);
    let opened = Program::open(&path).await.unwrap();
    opened.check_unchanged().unwrap();
    fs::write(&path, fs::read("/bin/false").unwrap()).unwrap();
    let refused = opened.check_unchanged().unwrap_err();
    assert_eq!(refused.reason, Reason::WorkloadModified);
}

#[tokio::test]
async fn what_is_no_program_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs::write(&script, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o711)).unwrap();
    assert_eq!(refusal(&script).await.reason, Reason::ArtifactMalformed);
    assert_eq!(
        refusal(directory.path()).await.reason,
        Reason::ArtifactMalformed
    );
    assert_eq!(
        refusal(Path::new("bin/true")).await.reason,
        Reason::ArtifactMalformed
    );
    assert_eq!(
        refusal(&directory.path().join("missing")).await.reason,
        Reason::ArtifactNotFound
    );
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o711)).unwrap();
    assert_eq!(refusal(&pipe).await.reason, Reason::ArtifactMalformed);
}

#[test]
fn libraries_that_others_can_change_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let library = directory.path().join("libx.so");
    fs::write(&library, "x").unwrap();
    let with = |library: &Path| Linkage {
        libraries: vec![library.to_owned()],
        ..Linkage::default()
    };
    // The directory for temporary files is everybody's, so is what lies in it.
    assert!(matches!(
        check_linkage(&with(&library)),
        Err(BrokenRule::LibraryWritable { .. })
    ));
    assert!(matches!(
        check_linkage(&with(Path::new("./libx.so"))),
        Err(BrokenRule::LibraryWritable { .. })
    ));
    assert!(check_linkage(&with(Path::new("libc.so.6"))).is_ok());
}

#[test]
fn search_paths_that_others_can_change_are_refused() {
    let with = |path: &str| Linkage {
        search: vec![PathBuf::from(path)],
        ..Linkage::default()
    };
    for path in ["$ORIGIN/../lib", "", "lib", "/tmp/lib", "/usr/../tmp"] {
        assert!(
            matches!(
                check_linkage(&with(path)),
                Err(BrokenRule::SearchWritable { .. })
            ),
            "{path}"
        );
    }
    assert!(check_linkage(&with("/usr/lib/nowhere")).is_ok());
}
