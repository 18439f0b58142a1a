//! The file of a unix socket: made, given its mode, and removed again.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};
use tracing::{debug, warn};

/// All permission bits there are.
const PERMISSIONS: u32 = 0o777;

/// How long another server that is just starting in the same folder is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket file of ours. Dropped, it is removed, unless it is no longer the one that we made.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Binds the socket to this path, in place of a file that a dead server left. The socket does not listen yet: nobody
    /// connects before the file has its mode.
    pub(crate) fn bind(socket: &Socket, path: &Path, mode: Option<u32>) -> io::Result<Self> {
        if mode.is_some_and(|mode| mode & !PERMISSIONS != 0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the mode has more than permission bits (0o777)"));
        }
        // A later change of the working folder must not make us remove another file.
        let path = std::path::absolute(path)?;
        let address = SockAddr::unix(&path)?;
        let _lock = lock_folder(&path);
        if let Err(error) = socket.bind(&address) {
            if error.kind() != io::ErrorKind::AddrInUse {
                return Err(error);
            }
            if !fs::symlink_metadata(&path)?.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            if is_served(&address) {
                return Err(error);
            }
            fs::remove_file(&path)?;
            debug!(path = %path.display(), "removed the socket of a server that is gone");
            socket.bind(&address)?;
        }
        let metadata = fs::symlink_metadata(&path)?;
        let file = Self { path, device: metadata.dev(), inode: metadata.ino() };
        if let Some(mode) = mode {
            fs::set_permissions(&file.path, Permissions::from_mode(mode))?;
        }
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = |metadata: fs::Metadata| metadata.dev() == self.device && metadata.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(ours)
            && let Err(error) = fs::remove_file(&self.path)
        {
            // After a change of user that is to be expected; the next server removes it.
            debug!(path = %self.path.display(), %error, "cannot remove our socket");
        }
    }
}

/// Whether somebody listens behind the file. When in doubt somebody does.
fn is_served(address: &SockAddr) -> bool {
    let knock = || {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A queue that is full must not hold us up.
        socket.set_nonblocking(true)?;
        socket.connect(address)
    };
    !matches!(knock(), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Two servers that start at once must not both find the file of a third, and one then remove what the other has bound.
/// Whoever may read the folder may lock it, so nobody is waited for for long.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = File::open(path.parent()?).ok()?;
    let end = Instant::now() + PATIENCE;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => {
                warn!(path = %path.display(), %error, "cannot lock the folder of a socket: going on without");
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    fn socket() -> Socket {
        Socket::new(Domain::UNIX, Type::STREAM, None).unwrap()
    }

    #[test]
    fn a_file_comes_with_its_mode_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imap");
        let file = SocketFile::bind(&socket(), &path, Some(0o640)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn nobody_connects_before_the_mode_is_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imap");
        let socket = socket();
        let _file = SocketFile::bind(&socket, &path, Some(0o600)).unwrap();
        assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        socket.listen(1).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_mode_is_permission_bits_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imap");
        for mode in [0o1000, 0o4755, 0o100_600, u32::MAX] {
            let error = SocketFile::bind(&socket(), &path, Some(mode)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{mode:o}");
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_is_left_is_replaced_and_what_is_served_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imap");
        let other = UnixListener::bind(&path).unwrap();
        let error = SocketFile::bind(&socket(), &path, None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(other);
        assert!(path.exists(), "left behind");
        let _file = SocketFile::bind(&socket(), &path, None).unwrap();
    }

    #[test]
    fn a_file_of_another_kind_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imap");
        fs::write(&path, "mail").unwrap();
        let error = SocketFile::bind(&socket(), &path, None).unwrap_err();
        assert_eq!(error.to_string(), "there is a file that is no socket");
        assert_eq!(fs::read(&path).unwrap(), b"mail");
    }

    #[test]
    fn the_file_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("imap");
        let file = SocketFile::bind(&socket(), &path, None).unwrap();
        // Not removed, so that its inode is not given out again.
        fs::rename(&path, folder.path().join("old")).unwrap();
        let _successor = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
    }
}
