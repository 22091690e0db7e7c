//! A listening Unix socket for processes of one user. Its file is removed on drop.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use thiserror::Error;

use super::{FileError, check_socket};
use crate::text::printable_path;

/// The maximum number of connections that wait to be accepted (listen(2)).
const BACKLOG: i32 = 16;

/// The type of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketKind {
    /// Bytes, without boundaries (`SOCK_STREAM`).
    Stream,
    /// Messages, each of which is received whole (`SOCK_SEQPACKET`).
    Packets,
}

impl SocketKind {
    const fn socket_type(self) -> SocketType {
        match self {
            Self::Stream => SocketType::STREAM,
            Self::Packets => SocketType::SEQPACKET,
        }
    }
}

/// The error of a socket that was not opened. A file at its path is unchanged.
#[derive(Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The file at the path must not be replaced.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another program listens on a socket at this path.
    #[error(
        "the socket {} cannot be opened: another program listens on it; end that program, or use another path",
        printable_path(.0)
    )]
    InUse(PathBuf),
    /// A system call failed.
    #[error(
        "the socket {} cannot be opened: {call}: {source}",
        printable_path(path)
    )]
    System {
        /// The path of the socket.
        path: PathBuf,
        /// The system call that failed.
        call: &'static str,
        /// The error of the kernel.
        source: io::Error,
    },
}

crate::debug_as_display!(SocketError);

/// The file of a listening socket. The drop removes it.
#[derive(Debug)]
pub struct PrivateSocket {
    path: PathBuf,
    /// The device and inode number of the file. On drop, a file with another identity, which has replaced it, is kept.
    identity: (u64, u64),
}

impl PrivateSocket {
    /// Binds a socket to which only this user and root may connect, and listens on it. The socket is non-blocking, so accept(2)
    /// does not block either.
    ///
    /// An existing socket file on which no program listens is replaced.
    ///
    /// # Errors
    /// [`SocketError::File`] if the path is another kind of file, or another user's socket; [`SocketError::InUse`] if a program
    /// listens on it; [`SocketError::System`] if the kernel refuses the operation.
    pub fn bind(path: &Path, kind: SocketKind) -> Result<(Self, OwnedFd), SocketError> {
        let failed = |call: &'static str| {
            move |source: io::Error| SocketError::System {
                path: path.to_owned(),
                call,
                source,
            }
        };
        check_socket(path)?;
        let address = SocketAddrUnix::new(path).map_err(|error| failed("bind")(error.into()))?;
        // The connection is non-blocking, because connect(2) would block if the backlog of the listening program is full.
        match rustix::net::connect(&new_socket(kind).map_err(failed("socket"))?, &address) {
            // EPROTOTYPE means that a program listens there on a socket of another type.
            Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => {
                return Err(SocketError::InUse(path.to_owned()));
            }
            Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(failed("unlink"))?,
            // No program listens there. If the socket cannot be bound, `bind` returns the cause.
            Err(_) => {}
        }
        let socket = new_socket(kind).map_err(failed("socket"))?;
        // Linux creates the file with the mode of the socket, so no other user can connect at any time. If the mode were set
        // after `bind`, another user could connect in between.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)
            .map_err(|error| failed("fchmod")(error.into()))?;
        rustix::net::bind(&socket, &address).map_err(|error| failed("bind")(error.into()))?;
        let metadata = path.symlink_metadata().map_err(failed("lstat"))?;
        let file = Self {
            path: path.to_owned(),
            identity: (metadata.dev(), metadata.ino()),
        };
        rustix::net::listen(&socket, BACKLOG).map_err(|error| failed("listen")(error.into()))?;
        Ok((file, socket))
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        let is_own = self
            .path
            .symlink_metadata()
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if is_own {
            // The error is ignored: the next program that binds this path replaces the file.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn new_socket(kind: SocketKind) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        kind.socket_type(),
        flags,
        None,
    )?)
}

/// Returns whether the process at the other end of a connection runs as this user or as root, by the credentials that the kernel
/// recorded at connect(2).
///
/// The mode of the socket file prevents other users from connecting, but the user can change the mode.
///
/// # Errors
/// The error of getsockopt(2).
///
/// # References
/// unix(7), `SO_PEERCRED`.
pub fn is_peer_own_user(connection: impl AsFd) -> io::Result<bool> {
    let peer = rustix::net::sockopt::socket_peercred(connection)?;
    Ok(peer.uid == rustix::process::geteuid() || peer.uid.is_root())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn socket_is_private_and_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (file, listening) = PrivateSocket::bind(&path, SocketKind::Stream).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        assert!(is_peer_own_user(UnixStream::connect(&path).unwrap()).unwrap());
        drop((file, listening));
        assert!(!path.exists());
    }

    #[test]
    fn socket_that_was_left_behind_is_replaced_and_one_in_use_is_kept() {
        for kind in [SocketKind::Stream, SocketKind::Packets] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("socket");
            drop(UnixListener::bind(&path).unwrap());
            let (first, _listening) = PrivateSocket::bind(&path, SocketKind::Stream).unwrap();
            let error = PrivateSocket::bind(&path, kind).unwrap_err();
            assert!(matches!(error, SocketError::InUse(_)), "{kind:?}: {error}");
            std::fs::remove_file(&path).unwrap();
            std::fs::write(&path, "kept").unwrap();
            drop(first);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
            assert!(matches!(
                PrivateSocket::bind(&path, kind),
                Err(SocketError::File(_))
            ));
        }
    }
}
