//! Owns the binding of unix sockets: what may be replaced, and who may connect.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use tokio::net::UnixListener;

/// Binds `path` with exactly the permissions `mode`, replacing a socket that an earlier run of ours left.
///
/// The socket is made under another name and renamed, so that nobody can connect before it has its permissions.
/// `group` may be given the socket, for modes such as 0660.
///
/// # Errors
/// `path` is something else than a socket of ours that nobody serves, its directory is open to others, or the system refuses.
pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, SocketError> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .ok_or_else(|| SocketError::NotAbsolute {
            path: path.to_owned(),
        })?;
    check_directory(directory)?;
    check_replaceable(path)?;
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    let new = new_name(path);
    remove_if_present(&new).map_err(failed)?;
    let listener = UnixListener::bind(&new).map_err(failed)?;
    publish(&new, path, mode, group).map_err(|source| {
        drop(fs::remove_file(&new));
        failed(source)
    })?;
    Ok(listener)
}

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The path has no directory.
    #[error("socket path `{}` has no directory", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// Another user could put a socket of their own in this place.
    #[error("socket directory `{}` may be written by other users", path.display())]
    DirectoryOpen {
        /// The directory.
        path: PathBuf,
    },
    /// The path holds something that is not a socket.
    #[error("`{}` exists and is not a socket", path.display())]
    NotSocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket belongs to another user.
    #[error("socket `{}` belongs to another user", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
    },
    /// Another process answers on the socket.
    #[error("socket `{}` is served by another process", path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("socket `{}` could not be bound", path.display())]
    Bind {
        /// The path.
        path: PathBuf,
        /// What failed.
        #[source]
        source: io::Error,
    },
}

fn check_directory(directory: &Path) -> Result<(), SocketError> {
    let metadata = fs::metadata(directory).map_err(|source| SocketError::Bind {
        path: directory.to_owned(),
        source,
    })?;
    let owner = metadata.uid();
    let sticky = metadata.mode() & 0o1000 != 0;
    let ours = owner == 0 || owner == geteuid().as_raw();
    if !ours || (metadata.mode() & 0o022 != 0 && !sticky) {
        return Err(SocketError::DirectoryOpen {
            path: directory.to_owned(),
        });
    }
    Ok(())
}

fn check_replaceable(path: &Path) -> Result<(), SocketError> {
    let path = path.to_owned();
    let metadata = match fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::Bind { path, source }),
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotSocket { path });
    }
    if metadata.uid() != geteuid().as_raw() {
        return Err(SocketError::NotOurs { path });
    }
    match UnixStream::connect(&path) {
        Ok(_served) => Err(SocketError::InUse { path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(SocketError::Bind { path, source }),
    }
}

fn publish(new: &Path, path: &Path, mode: u32, group: Option<u32>) -> io::Result<()> {
    if let Some(group) = group {
        chown(new, None, Some(group))?;
    }
    fs::set_permissions(new, Permissions::from_mode(mode))?;
    fs::rename(new, path)
}

/// The longest name that a socket may have is short, so the suffix is too.
fn new_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("~");
    PathBuf::from(name)
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn socket_has_exactly_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _listener = bind(&path, 0o666, None).unwrap();
        assert_eq!(mode(&path), 0o666);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn socket_of_an_earlier_run_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        drop(bind(&path, 0o600, None).unwrap());
        let _listener = bind(&path, 0o600, None).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn socket_that_is_served_is_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _listener = bind(&path, 0o600, None).unwrap();
        assert!(matches!(
            bind(&path, 0o600, None),
            Err(SocketError::InUse { .. })
        ));
    }

    #[tokio::test]
    async fn file_in_the_way_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        fs::write(&path, b"precious").unwrap();
        assert!(matches!(
            bind(&path, 0o600, None),
            Err(SocketError::NotSocket { .. })
        ));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn symlink_in_the_way_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        std::os::unix::fs::symlink("/run/other.sock", &path).unwrap();
        assert!(matches!(
            bind(&path, 0o600, None),
            Err(SocketError::NotSocket { .. })
        ));
    }

    #[tokio::test]
    async fn directory_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
        let path = directory.path().join("agent.sock");
        assert!(matches!(
            bind(&path, 0o600, None),
            Err(SocketError::DirectoryOpen { .. })
        ));
    }

    #[tokio::test]
    async fn bare_name_has_no_directory() {
        assert!(matches!(
            bind(Path::new("agent.sock"), 0o600, None),
            Err(SocketError::NotAbsolute { .. })
        ));
    }

    #[tokio::test]
    async fn missing_directory_is_a_bind_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing/agent.sock");
        assert!(matches!(
            bind(&path, 0o600, None),
            Err(SocketError::Bind { .. })
        ));
    }
}
