//! Folders, locks and damaged files of a cache that is a user's own.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{FileError, FileKind};

/// Returns whether this process's user may trust what a user has made: its own and root's. Root trusts nobody else.
fn is_trusted(owner: u32) -> bool {
    owner == rustix::process::geteuid().as_raw() || owner == 0
}

fn must_be_trusted(operation: &'static str, path: &Path, owner: u32) -> Result<(), FileError> {
    if is_trusted(owner) {
        return Ok(());
    }
    Err(FileError::Owner {
        operation,
        path: path.to_owned(),
        owner,
        user: rustix::process::geteuid().as_raw(),
    })
}

/// Makes a folder with those above it, for its owner alone (mode 0700), where it is not there yet.
///
/// # Errors
/// [`FileError::Owner`] where it, or the folder in which it would be made, or a link to either, is another user's: root with the
/// `HOME` of a user writes nothing there. [`FileError::System`] where the kernel refuses.
pub(crate) fn create_private_folder(path: &Path) -> Result<(), FileError> {
    let operation = "write in";
    // An empty path is the folder in which the process runs.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut above = path;
    loop {
        match rustix::fs::stat(above) {
            Ok(stat) => {
                let link = rustix::fs::lstat(above)
                    .map_err(|error| FileError::system(operation, above, error))?;
                must_be_trusted(operation, above, link.st_uid)?;
                must_be_trusted(operation, above, stat.st_uid)?;
                break;
            }
            Err(Errno::NOENT) => {
                missing.push(above.to_owned());
                above = match above.parent() {
                    Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                    Some(parent) => parent,
                    None => return Err(FileError::system(operation, path, Errno::NOENT)),
                };
            }
            Err(error) => return Err(FileError::system(operation, path, error)),
        }
    }
    for folder in missing.iter().rev() {
        match rustix::fs::mkdir(folder, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                // Made by somebody since: a link that leads nowhere, or a folder of another process.
                let stat = rustix::fs::lstat(folder)
                    .map_err(|error| FileError::system(operation, folder, error))?;
                must_be_trusted(operation, folder, stat.st_uid)?;
            }
            Err(error) => return Err(FileError::system("make the folder", folder, error)),
        }
    }
    Ok(())
}

/// Opens a file that is only locked, never read or written; made with mode 0600 where it is not there.
///
/// # Errors
/// [`FileError::Kind`] for anything but a regular file, links included; [`FileError::Owner`] for another user's;
/// [`FileError::System`] where the kernel refuses.
pub(crate) fn open_lock(path: &Path) -> Result<File, FileError> {
    let operation = "lock";
    match rustix::fs::lstat(path) {
        Ok(stat) => FileKind::of(stat.st_mode).must_be_regular(operation, path)?,
        Err(Errno::NOENT) => {}
        Err(error) => return Err(FileError::system(operation, path, error)),
    }
    let flags = OFlags::RDWR
        | OFlags::CREATE
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|error| FileError::system(operation, path, error))?;
    let stat =
        rustix::fs::fstat(&file).map_err(|error| FileError::system(operation, path, error))?;
    FileKind::of(stat.st_mode).must_be_regular(operation, path)?;
    must_be_trusted(operation, path, stat.st_uid)?;
    Ok(File::from(file))
}

/// Moves a regular file of this user to the first of several names that nothing has, and returns that name.
///
/// # Errors
/// [`FileError::Kind`] for anything but a regular file, links included; [`FileError::Owner`] for another user's;
/// [`FileError::System`] where the kernel refuses or every name is taken. Nothing was moved then, and nothing is ever replaced.
pub(crate) fn move_aside(
    path: &Path,
    names: impl IntoIterator<Item = PathBuf>,
) -> Result<PathBuf, FileError> {
    let operation = "move aside";
    let failed = |error| FileError::system(operation, path, error);
    let stat = rustix::fs::lstat(path).map_err(failed)?;
    FileKind::of(stat.st_mode).must_be_regular(operation, path)?;
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user {
        return Err(FileError::Owner {
            operation,
            path: path.to_owned(),
            owner: stat.st_uid,
            user,
        });
    }
    for name in names {
        let flags = RenameFlags::NOREPLACE;
        let moved = match rustix::fs::renameat_with(CWD, path, CWD, &name, flags) {
            // A file system that cannot promise that nothing is replaced: a second name is refused where there is one.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::link(path, &name).and_then(|()| rustix::fs::unlink(path))
            }
            moved => moved,
        };
        match moved {
            Ok(()) => return Ok(name),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(Errno::EXIST))
}
