//! Owns the replacing of a file: readers see the old bytes or the new ones, never some of each.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Writes `bytes` to `path` with exactly the permissions `mode`, through a new file in the same directory.
///
/// # Errors
/// The new file could not be written, synced or moved; `path` is then as it was.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = NewFile::beside(path)?;
    new.fill(bytes, mode)?;
    new.rename(path)
}

/// A file under a name of its own, removed unless it is renamed.
struct NewFile {
    path: PathBuf,
    directory: PathBuf,
}

impl NewFile {
    fn beside(path: &Path) -> io::Result<Self> {
        let name = path
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        // The dot hides it from readers of the directory, which skip such names.
        let mut new_name = std::ffi::OsString::from(".");
        new_name.push(name);
        new_name.push(format!(".{}.new", unique()?));
        Ok(Self {
            path: directory.join(new_name),
            directory,
        })
    }

    fn fill(&self, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&self.path)?;
        // Set again, since the umask may have taken bits away.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        // The rename itself lasts only once the directory is synced.
        File::open(&self.directory)?.sync_all()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After a rename there is nothing left under this name.
        drop(fs::remove_file(&self.path));
    }
}

/// Eight random bytes in hex: two writers never share a name.
fn unique() -> io::Result<String> {
    let mut bytes = [0; 8];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| io::Error::other("no randomness"))?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_replaced_with_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        write(&path, b"old", 0o644).unwrap();
        write(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn nothing_is_left_beside_the_file() {
        let directory = tempfile::tempdir().unwrap();
        write(&directory.path().join("state"), b"bytes", 0o600).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn failed_write_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"bytes", 0o600).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn path_without_a_name_is_refused() {
        assert!(write(Path::new("/"), b"", 0o600).is_err());
    }
}
