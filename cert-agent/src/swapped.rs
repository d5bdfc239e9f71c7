//! A directory of files that change together: written beside the old ones, then swapped in by one symbolic link.

use std::{
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink},
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid};

/// One file of a generation.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its name in the directory.
    pub name: &'a str,
    /// Its content.
    pub bytes: &'a [u8],
    /// Its mode.
    pub mode: u32,
}

/// Whom the files belong to. The directories stay root's, so that their owner cannot point the next write elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// Replaces the files of a directory, all at once.
///
/// # Errors
/// Anything the file system says; the old files are then still in place.
pub fn swap(directory: &Path, files: &[File<'_>], owner: Option<Owner>) -> io::Result<()> {
    check_directory(directory)?;
    let old = own_generation(directory)?;
    let name = fresh_name(directory);
    let generation = directory.join(&name);
    std::fs::DirBuilder::new().mode(0o755).create(&generation)?;
    for file in files {
        write_new(&generation.join(file.name), file.bytes, file.mode, owner)?;
    }
    std::fs::File::open(&generation)?.sync_all()?;
    point(directory, DATA, Path::new(&name))?;
    for file in files {
        point(directory, file.name, &Path::new(DATA).join(file.name))?;
    }
    match old {
        Some(old) => absent_is_fine(std::fs::remove_dir_all(old)),
        None => Ok(()),
    }
}

/// Takes the files of a directory away; what else is in it stays.
///
/// # Errors
/// Anything the file system says, except that they are gone already.
pub fn remove(directory: &Path, names: &[&str]) -> io::Result<()> {
    let generation = own_generation(directory)?;
    for name in names.iter().chain(&[DATA]) {
        absent_is_fine(std::fs::remove_file(directory.join(name)))?;
    }
    generation.map_or(Ok(()), |generation| {
        absent_is_fine(std::fs::remove_dir_all(generation))
    })
}

/// Resolves the generation in place, so that files read through it belong together. A directory that was never swapped is its own.
pub fn generation(directory: &Path) -> PathBuf {
    match own_generation(directory) {
        Ok(Some(generation)) => generation,
        Ok(None) | Err(_) => directory.to_path_buf(),
    }
}

/// The generation in place, if there is one. A link that leads anywhere but to a directory of ours, beside it, is never followed: what it leads to would be removed.
fn own_generation(directory: &Path) -> io::Result<Option<PathBuf>> {
    let target = match std::fs::read_link(directory.join(DATA)) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let own = target
        .to_str()
        .and_then(|name| name.strip_prefix(".."))
        .is_some_and(|n| n.parse::<u32>().is_ok_and(|number| number.to_string() == n));
    let generation = directory.join(&target);
    if own && std::fs::symlink_metadata(&generation).map_or(true, |facts| facts.is_dir()) {
        return Ok(Some(generation));
    }
    let text = format!(
        "`{DATA}` in `{}` leads to `{}`, which is not ours",
        directory.display(),
        target.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

/// Makes a directory for root alone, or leaves the one that is there.
///
/// # Errors
/// Anything the file system says.
pub fn make_private_directory(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// Writes a file that must not exist, and makes it durable.
///
/// # Errors
/// Anything the file system says.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    if let Some(Owner { uid, gid }) = owner {
        nix::unistd::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whoever can write the directory could read the next key.
fn check_directory(directory: &Path) -> io::Result<()> {
    let facts = std::fs::symlink_metadata(directory)?;
    let ours = facts.uid() == nix::unistd::geteuid().as_raw();
    if facts.is_dir() && ours && facts.mode() & 0o022 == 0 {
        return Ok(());
    }
    let text = format!(
        "`{}` must be a directory that only root may write",
        directory.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}

fn point(directory: &Path, name: &str, target: &Path) -> io::Result<()> {
    let link = directory.join(name);
    if std::fs::read_link(&link).is_ok_and(|current| current == target) {
        return Ok(());
    }
    let new = directory.join(format!("..new-{}", name.trim_start_matches('.')));
    absent_is_fine(std::fs::remove_file(&new))?;
    symlink(target, &new)?;
    std::fs::rename(&new, &link)
}

fn fresh_name(directory: &Path) -> String {
    let taken = |n: &u32| std::fs::symlink_metadata(directory.join(format!("..{n}"))).is_ok();
    let free = (1..u32::MAX).find(|n| !taken(n)).unwrap_or_default();
    format!("..{free}")
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

const DATA: &str = "..data";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn files(text: &str) -> [(&'static str, Vec<u8>); 2] {
        [
            ("a.pem", text.as_bytes().to_vec()),
            ("a.key", text.as_bytes().to_vec()),
        ]
    }

    fn put(directory: &Path, text: &str) {
        let files = files(text);
        let files: Vec<File<'_>> = files
            .iter()
            .map(|(name, bytes)| File {
                name,
                bytes,
                mode: 0o600,
            })
            .collect();
        swap(directory, &files, None).unwrap();
    }

    #[test]
    fn swapped_files_are_of_one_generation_and_the_old_one_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "one");
        let held = generation(directory.path());
        put(directory.path(), "two");
        assert_eq!(
            std::fs::read(directory.path().join("a.pem")).unwrap(),
            b"two"
        );
        assert_eq!(
            std::fs::read(directory.path().join("a.key")).unwrap(),
            b"two"
        );
        assert!(!held.exists());
    }

    #[test]
    fn files_have_their_mode() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "one");
        let mode = std::fs::metadata(directory.path().join("a.key"))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn removed_files_leave_nothing() {
        let directory = tempfile::tempdir().unwrap();
        put(directory.path(), "one");
        remove(directory.path(), &["a.pem", "a.key"]).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        remove(directory.path(), &["a.pem", "a.key"]).unwrap();
    }

    #[test]
    fn directory_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = swap(directory.path(), &[], None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn planted_link_is_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("passwd"), "theirs").unwrap();
        let inside = outside.path().file_name().unwrap();
        for planted in [
            outside.path().to_owned(),
            Path::new("..").join(inside),
            PathBuf::from("../.."),
            PathBuf::from(".."),
            PathBuf::from("."),
            PathBuf::from("..1/../../x"),
            PathBuf::from("..01"),
            PathBuf::from("..+1"),
        ] {
            let directory = tempfile::tempdir().unwrap();
            symlink(&planted, directory.path().join(DATA)).unwrap();
            assert!(swap(directory.path(), &[], None).is_err(), "{planted:?}");
            assert!(remove(directory.path(), &[]).is_err(), "{planted:?}");
            assert_eq!(generation(directory.path()), directory.path());
            assert!(outside.path().join("passwd").exists(), "{planted:?}");
        }
    }

    #[test]
    fn generation_that_is_itself_a_planted_link_is_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("passwd"), "theirs").unwrap();
        let directory = tempfile::tempdir().unwrap();
        symlink(outside.path(), directory.path().join("..1")).unwrap();
        symlink("..1", directory.path().join(DATA)).unwrap();
        assert!(swap(directory.path(), &[], None).is_err());
        assert!(remove(directory.path(), &[]).is_err());
        assert!(outside.path().join("passwd").exists());
    }

    #[test]
    fn plain_files_in_the_way_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.pem"), "plain").unwrap();
        put(directory.path(), "one");
        assert_eq!(
            std::fs::read(directory.path().join("a.pem")).unwrap(),
            b"one"
        );
    }
}
