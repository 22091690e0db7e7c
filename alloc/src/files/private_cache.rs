//! Folders, locks and damaged files of a user's cache.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{FileError, FileKind};

/// Returns whether this process may use files that belong to `owner`: that must be the user of the process, or root.
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

/// Creates a folder and its missing parents, accessible only to their owner (mode 0700).
///
/// # Errors
/// [`FileError::Owner`] if the folder, its nearest existing parent, or a link to either belongs to another user. So a process of
/// root does not write into the folders of a user whose `HOME` it has. [`FileError::System`] if the kernel refuses the operation.
pub(crate) fn create_private_folder(path: &Path) -> Result<(), FileError> {
    let operation = "write in";
    // An empty path is the current folder.
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut parent = path;
    loop {
        match rustix::fs::stat(parent) {
            Ok(stat) => {
                let link = rustix::fs::lstat(parent)
                    .map_err(|error| FileError::system(operation, parent, error))?;
                must_be_trusted(operation, parent, link.st_uid)?;
                must_be_trusted(operation, parent, stat.st_uid)?;
                break;
            }
            Err(Errno::NOENT) => {
                missing.push(parent.to_owned());
                parent = match parent.parent() {
                    Some(next) if next.as_os_str().is_empty() => Path::new("."),
                    Some(next) => next,
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
                // Another process has created a folder or a dangling link with this name since the check.
                let stat = rustix::fs::lstat(folder)
                    .map_err(|error| FileError::system(operation, folder, error))?;
                must_be_trusted(operation, folder, stat.st_uid)?;
            }
            Err(error) => return Err(FileError::system("create the folder", folder, error)),
        }
    }
    Ok(())
}

/// Opens a file that is only locked and never read or written. It is created with mode 0600 if it does not exist.
///
/// # Errors
/// [`FileError::Kind`] if the file is not a regular file, or is a symbolic link; [`FileError::Owner`] for a file of another user;
/// [`FileError::System`] if the kernel refuses the operation.
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

/// Renames a regular file of this user to the first unused one of several names, and returns that name.
///
/// # Errors
/// [`FileError::Kind`] if the file is not a regular file, or is a symbolic link; [`FileError::Owner`] for a file of another user;
/// [`FileError::System`] if the kernel refuses the operation, or if every name is in use. After an error the file has its old
/// name. No file is ever replaced.
pub(crate) fn move_aside(
    path: &Path,
    names: impl IntoIterator<Item = PathBuf>,
) -> Result<PathBuf, FileError> {
    let operation = "rename";
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
            // If the file system does not support RENAME_NOREPLACE, link() and unlink() are used instead: link() fails if the
            // name exists.
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
