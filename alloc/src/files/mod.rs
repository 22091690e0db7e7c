//! Reads and writes files by path. Reads do not block, and a write never leaves a damaged file or changes another user's file.
//!
//! A path can lead to a FIFO, where `open` blocks without end, to a device node that acts when it is opened or read, to a link
//! that another user has created, or to another user's file. This module has these rules:
//!
//! - Only a regular file is read. It is opened without blocking and read up to a limit ([`read`]). A symbolic link to a regular
//!   file is followed.
//! - A file is written under a temporary name in the same folder and renamed to its place ([`NewFile`], [`replace`]). So a reader
//!   sees either the old file or the complete new file, a full disk loses no old data, and other hard links to the old file keep
//!   its contents. A file that grows while a program runs is renamed to its place before it is written ([`create`]).
//! - Only a regular file of the same user is replaced, and never a link. The error for any other file names its type or its
//!   owner.
//! - A user's cache is in folders that belong to the user or to root. New folders are accessible only to their owner (mode 0700,
//!   `create_private_folder`). The lock file of the cache is opened without following a link (`open_lock`), and a damaged cache
//!   file is renamed to an unused name (`move_aside`).
//! - Files may contain pixels and information about other processes, so they are accessible only to their owner (mode 0600),
//!   unless the caller asks for more ([`FileAccess::Shared`]).
//! - The file of a socket is accessible only to its owner (mode 0600). It replaces only a socket of the same user on which no
//!   process listens, and is removed when the [`PrivateSocket`] is dropped.
//! - The folder of a written file is opened once, so it has no effect if a part of its path is replaced by a link later.
//!
//! `/dev/stdout`, `/dev/null`, FIFOs and the paths of a shell's `<(…)` and `>(…)` are refused, since they are links, devices and
//! named pipes. A program that can read or write streams accepts `-` as the path instead.
//!
//! # References
//! open(2), `O_NONBLOCK` and `O_NOFOLLOW`; rename(2).

#![forbid(unsafe_code)]

mod error;
mod new_file;
mod private_cache;
mod private_socket;

pub use error::{FileError, FileKind};
pub use new_file::{
    FileAccess, NewFile, check, check_socket, create, make_folder, replace, replace_for,
};
pub(crate) use private_cache::{create_private_folder, move_aside, open_lock};
pub use private_socket::{PrivateSocket, SocketError, SocketKind, is_peer_own_user};

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// Opens a regular file for reading, without blocking.
///
/// # Errors
/// [`FileError::Kind`] if the file is not a regular file; [`FileError::System`] if the kernel refuses the operation.
pub fn open(path: &Path) -> Result<File, FileError> {
    let operation = "open";
    let failed = |error| FileError::system(operation, path, error);
    // The type is checked before the file is opened, because the opening of some device nodes has an effect, and again on the
    // open file, because the file may have been replaced.
    let stat = rustix::fs::stat(path).map_err(failed)?;
    FileKind::of(stat.st_mode).must_be_regular(operation, path)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    FileKind::of(stat.st_mode).must_be_regular(operation, path)?;
    Ok(File::from(file))
}

/// Reads a whole regular file of at most `max_bytes` bytes, without blocking.
///
/// # Errors
/// The errors of [`open`]; [`FileError::TooLarge`] for a longer file, of which at most one more byte is read.
pub fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, FileError> {
    read_from(open(path)?, path, max_bytes)
}

/// Reads a regular file that belongs to the user or to root, as [`read`] does. It is for files whose path the user did not
/// specify.
///
/// # Errors
/// The errors of [`read`]; [`FileError::Owner`] for a file of another user. If the process runs as root, only root's files are
/// read.
pub fn read_own(path: &Path, max_bytes: usize) -> Result<Vec<u8>, FileError> {
    let file = open(path)?;
    let operation = "read";
    let stat =
        rustix::fs::fstat(&file).map_err(|error| FileError::system(operation, path, error))?;
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user && stat.st_uid != 0 {
        return Err(FileError::Owner {
            operation,
            path: path.to_owned(),
            owner: stat.st_uid,
            user,
        });
    }
    read_from(file, path, max_bytes)
}

fn read_from(file: File, path: &Path, max_bytes: usize) -> Result<Vec<u8>, FileError> {
    let limit = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::System {
            operation: "read",
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() > max_bytes {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            max_bytes,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
