//! The file of the control socket: bound with mode 0600, and removed at the end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use covalent_alloc::files::{self, FileError};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The number of connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The path leads to something that must not be replaced.
    #[error("the control socket cannot be opened: {0}")]
    File(#[from] FileError),
    /// Another compositor listens there.
    #[error(
        "the control socket {0} cannot be opened: another compositor listens on it; pass another path to --control"
    )]
    InUse(PathBuf),
    /// A system call failed.
    #[error("the control socket {path} cannot be opened: {call}: {source}")]
    System {
        /// The path.
        path: PathBuf,
        /// The system call.
        call: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
}

/// A bound socket whose file is removed when this is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file, so that a file that replaced it is kept.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds a socket that only this user may connect to. A file that a compositor left behind is replaced.
    ///
    /// # Errors
    ///
    /// When the path has another kind of file, another user's socket, or one that a program listens on.
    pub(super) fn bind(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let failed = |call: &'static str| {
            move |source: io::Error| SocketError::System {
                path: path.to_owned(),
                call,
                source,
            }
        };
        files::check_socket(path)?;
        let address = SocketAddrUnix::new(path).map_err(|error| failed("bind")(error.into()))?;
        // A connection that does not block: the backlog of a program that accepts nothing may be full.
        match rustix::net::connect(&new_socket().map_err(failed("socket"))?, &address) {
            Ok(()) | Err(Errno::AGAIN) => return Err(SocketError::InUse(path.to_owned())),
            Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed("unlink"))?,
            // There is no file, or `bind` names the cause.
            Err(_) => {}
        }
        let socket = new_socket().map_err(failed("socket"))?;
        // Linux creates the file with the mode of the socket, so no other user can connect at any time. If the mode were set after
        // `bind`, another user could connect in between.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed("fchmod")(error.into()))?;
        rustix::net::bind(&socket, &address).map_err(|error| failed("bind")(error.into()))?;
        let metadata = path.symlink_metadata().map_err(failed("lstat"))?;
        let file = Self {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        };
        rustix::net::listen(&socket, BACKLOG).map_err(|error| failed("listen")(error.into()))?;
        Ok((file, socket.into()))
    }

    /// Returns the path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_own = self
            .path
            .symlink_metadata()
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_own {
            // A file that stays is replaced by the next compositor of this name.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn socket_is_private_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("covalent-wayland-1");
        let (file, listening) = SocketFile::bind(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop((file, listening));
        assert!(!path.exists());
    }

    #[test]
    fn socket_that_was_left_behind_is_replaced_and_one_in_use_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("covalent-wayland-1");
        drop(UnixListener::bind(&path).unwrap());
        let (first, _listening) = SocketFile::bind(&path).unwrap();
        let error = SocketFile::bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::InUse(_)), "{error}");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "kept").unwrap();
        drop(first);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
        assert!(matches!(SocketFile::bind(&path), Err(SocketError::File(_))));
    }
}
