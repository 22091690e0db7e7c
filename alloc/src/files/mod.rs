//! Files that a person or a program names: read without blocking, written without harm to what is there.
//!
//! A path can lead to anything: a FIFO at which `open` waits for ever, a device node that acts on being opened or read, a link
//! that somebody else put there, another user's file. So:
//!
//! - What is read is a regular file, opened without blocking and read up to a limit ([`read`]). A link to one is followed: it is
//!   the person's own way of naming it.
//! - What is written is made anew under a name of its own in the same folder and moved to its place ([`NewFile`], [`replace`]), so
//!   that a reader sees the old file or the new one whole, a full disk costs nothing that was there, and other names of the old
//!   file keep it. A file that grows while a program runs is moved there at once ([`create`]).
//! - What is replaced is a regular file of the same user, and no link. Anything else is refused with what it is.
//! - What is a cache of the user's lies in folders of the user's or root's, made for their owner alone (mode 0700)
//!   (`create_private_folder`); its lock is opened without following a link (`open_lock`), and a damaged file of ours is moved
//!   to a name that nothing has (`move_aside`).
//! - Files hold pixels and what other processes do, so they are for their owner alone (mode 0600), unless whoever writes one knows
//!   better ([`Access::Shared`]).
//! - The folder of a file that is written is opened once, so that a link that is put on the way to it meanwhile leads nowhere else.
//!
//! `/dev/stdout`, `/dev/null`, FIFOs and what a shell's `<(…)` and `>(…)` stand for are refused too, as links, devices and named
//! pipes: a program that reads or writes streams takes `-` for them.
//!
//! # References
//! open(2), `O_NONBLOCK` and `O_NOFOLLOW`; rename(2).

#![forbid(unsafe_code)]

mod error;
mod new;
mod private;

pub use error::{FileError, FileKind};
pub use new::{Access, NewFile, check, check_socket, create, make_folder, replace, replace_for};
pub(crate) use private::{create_private_folder, move_aside, open_lock};

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
    // A look before opening: some device nodes act on being opened. What is opened is looked at again.
    let stat = rustix::fs::stat(path).map_err(failed)?;
    FileKind::of(stat.st_mode).must_be_regular(operation, path)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    FileKind::of(stat.st_mode).must_be_regular(operation, path)?;
    Ok(File::from(file))
}

/// Reads a regular file of at most `most` bytes whole, without blocking.
///
/// # Errors
/// Those of [`open`], and [`FileError::TooLarge`] for a longer file, of which no more than `most` bytes are read.
pub fn read(path: &Path, most: usize) -> Result<Vec<u8>, FileError> {
    read_from(open(path)?, path, most)
}

/// Reads a regular file as [`read`] does, where it is the user's own: for files that are found by themselves rather than named.
///
/// # Errors
/// Those of [`read`], and [`FileError::Owner`] for a file of another user; root's are taken by everybody, and root takes no
/// others.
pub(crate) fn read_own(path: &Path, most: usize) -> Result<Vec<u8>, FileError> {
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
    read_from(file, path, most)
}

fn read_from(file: File, path: &Path, most: usize) -> Result<Vec<u8>, FileError> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|source| FileError::System {
            operation: "read",
            path: path.to_owned(),
            source,
        })?;
    if bytes.len() > most {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            most,
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
