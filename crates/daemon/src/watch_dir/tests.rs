use std::{fs, os::unix::fs::symlink, path::Path};

use super::*;

fn names(contents: &Contents) -> Vec<&str> {
    contents.files().keys().map(String::as_str).collect()
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn whole_tree_is_read_by_relative_path() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "pulls.yaml", b"a");
    write(root.path(), "keys/release.pub", b"b");
    write(root.path(), ".pulls.yaml.swp", b"c");
    let contents = read_directory(root.path(), Limits::default()).unwrap();
    assert_eq!(names(&contents), ["keys/release.pub", "pulls.yaml"]);
}

#[test]
fn mounted_volume_is_read_through_its_data_link() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "..2026_1/pulls.yaml", b"old");
    write(root.path(), "..2026_2/pulls.yaml", b"new");
    symlink("..2026_2", root.path().join("..data")).unwrap();
    symlink("..data/pulls.yaml", root.path().join("pulls.yaml")).unwrap();
    let contents = read_directory(root.path(), Limits::default()).unwrap();
    assert_eq!(contents.files().get("pulls.yaml").unwrap(), b"new");
    assert_eq!(names(&contents), ["pulls.yaml"]);
}

#[test]
fn moved_byte_between_files_changes_the_hash() {
    let first = tempfile::tempdir().unwrap();
    write(first.path(), "a", b"xy");
    write(first.path(), "b", b"z");
    let second = tempfile::tempdir().unwrap();
    write(second.path(), "a", b"x");
    write(second.path(), "b", b"yz");
    let hash = |root: &Path| *read_directory(root, Limits::default()).unwrap().hash();
    assert_ne!(hash(first.path()), hash(second.path()));
}

#[test]
fn each_limit_is_kept() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a", b"12345");
    write(root.path(), "b/c/d", b"12345");
    let read = |files, bytes, depth| {
        read_directory(
            root.path(),
            Limits {
                files,
                bytes,
                depth,
            },
        )
    };
    assert!(read(2, 10, 2).is_ok());
    assert!(matches!(
        read(1, 10, 2),
        Err(DirectoryError::TooManyFiles { .. })
    ));
    assert!(matches!(
        read(2, 9, 2),
        Err(DirectoryError::TooManyBytes { .. })
    ));
    assert!(matches!(
        read(2, 10, 1),
        Err(DirectoryError::TooDeep { .. })
    ));
}

#[test]
fn link_that_leads_out_is_refused() {
    let root = tempfile::tempdir().unwrap();
    symlink("/etc/passwd", root.path().join("users.yaml")).unwrap();
    assert!(matches!(
        read_directory(root.path(), Limits::default()),
        Err(DirectoryError::LeadsOut { .. })
    ));
}

#[test]
fn link_to_itself_ends_at_the_depth() {
    let root = tempfile::tempdir().unwrap();
    symlink(".", root.path().join("again")).unwrap();
    assert!(matches!(
        read_directory(root.path(), Limits::default()),
        Err(DirectoryError::TooDeep { .. })
    ));
}

#[tokio::test]
async fn socket_among_the_files_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let _listener = tokio::net::UnixListener::bind(root.path().join("x.sock")).unwrap();
    assert!(matches!(
        read_directory(root.path(), Limits::default()),
        Err(DirectoryError::NotAFile { .. })
    ));
}

#[test]
fn name_that_is_not_utf8_is_refused() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(OsStr::from_bytes(b"\xff")), b"").unwrap();
    assert!(matches!(
        read_directory(root.path(), Limits::default()),
        Err(DirectoryError::Name { .. })
    ));
}

#[test]
fn missing_directory_cannot_be_read() {
    let root = tempfile::tempdir().unwrap();
    assert!(matches!(
        read_directory(&root.path().join("missing"), Limits::default()),
        Err(DirectoryError::Read { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn change_is_reported_once() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a", b"1");
    let mut directory = WatchedDirectory::new(root.path(), Limits::default());
    directory.read().await.unwrap();
    write(root.path(), "a", b"2");
    let contents = directory.changed().await.unwrap();
    assert_eq!(contents.files().get("a").unwrap(), b"2");
    let quiet = tokio::time::timeout(INTERVAL * 5, directory.changed()).await;
    assert!(quiet.is_err());
}

#[tokio::test(start_paused = true)]
async fn failure_is_reported_once_and_so_is_its_end() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("policy");
    fs::create_dir(&path).unwrap();
    write(&path, "a", b"1");
    let mut directory = WatchedDirectory::new(&path, Limits::default());
    directory.read().await.unwrap();
    fs::rename(&path, root.path().join("away")).unwrap();
    assert!(directory.changed().await.is_err());
    assert!(
        tokio::time::timeout(INTERVAL * 5, directory.changed())
            .await
            .is_err()
    );
    fs::rename(root.path().join("away"), &path).unwrap();
    assert!(directory.changed().await.is_ok());
}
