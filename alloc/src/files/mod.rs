//! Reads and writes files by path: reads do not block, and writes do not harm what exists.
//!
//! A path can lead to a FIFO, where `open` blocks without end, to a device node that acts when it is opened or read, to a link that
//! another user has created, or to another user's file. This module has these rules:
//!
//! - Only a regular file is read. It is opened without blocking and read up to a limit ([`read`]). A link to a regular file is
//!   followed, since the person who named it may use links.
//! - A file is written under a temporary name in the same folder and renamed to its place ([`NewFile`], [`replace`]). So a reader sees
//!   the old file or the complete new one, a full disk loses no old data, and other hard links to the old file keep it. A file that
//!   grows while a program runs is renamed at once ([`create`]).
//! - Only a regular file of the same user is replaced, and never a link. The error for anything else says what it is.
//! - A cache of the user is in folders of the user or of root, which are created for their owner only (mode 0700)
//!   (`create_private_folder`). Its lock is opened without following a link (`open_lock`), and a damaged file of this crate is renamed
//!   to an unused name (`move_aside`).
//! - Files may contain pixels and information about other processes, so they are accessible only to their owner (mode 0600), unless the
//!   caller asks for more ([`FileAccess::Shared`]).
//! - A socket is bound for its owner only (mode 0600), replaces only a socket of the same user on which nobody listens, and is removed at
//!   the end ([`PrivateSocket`]).
//! - The folder of a written file is opened once, so that a link that is placed on its path later has no effect.
//!
//! `/dev/stdout`, `/dev/null`, FIFOs and the paths of a shell's `<(…)` and `>(…)` are refused too, as links, devices and named pipes. A
//! program that reads or writes streams takes `-` for them.
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
/// [`FileError::Kind`] for anything but a regular file, [`FileError::System`] where the kernel refuses.
pub fn open(path: &Path) -> Result<File, FileError> {
    let operation = "open";
    let failed = |error| FileError::system(operation, path, error);
    // The type is checked before opening, since some device nodes act when they are opened, and again on the open file.
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
/// Those of [`open`], and [`FileError::TooLarge`] for a longer file, of which at most one more byte is read.
pub fn read(path: &Path, max_bytes: usize) -> Result<Vec<u8>, FileError> {
    read_from(open(path)?, path, max_bytes)
}

/// Reads a regular file of the user or of root, as [`read`] does. It is for files that the program finds without the user naming them.
///
/// # Errors
/// Those of [`read`], and [`FileError::Owner`] for a file of another user. For root that is every file that is not root's.
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
