//! Errors of reading and writing files.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;
use thiserror::Error;

use crate::text::printable_path;

/// The error of a file that was not read or not written. The files on the disk are unchanged.
#[derive(Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file has the wrong type.
    #[error(
        "cannot {operation} {}: it is {kind}, and only {wanted} is accepted here; use another path",
        printable_path(path)
    )]
    Kind {
        /// The operation on the file that failed, such as `open`.
        operation: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The type of the existing file.
        kind: FileKind,
        /// The type of file that the operation accepts.
        wanted: FileKind,
    },
    /// The file belongs to another user.
    #[error(
        "cannot {operation} {}: it belongs to user {owner}, and this program runs as user {user}; remove it or use another path",
        printable_path(path)
    )]
    Owner {
        /// The operation on the file that failed, such as `open`.
        operation: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The user ID of the file's owner.
        owner: u32,
        /// The effective user ID of this process.
        user: u32,
    },
    /// The file is longer than the limit.
    #[error(
        "cannot read {}: it has more than {max_bytes} bytes, the limit for such a file",
        printable_path(path)
    )]
    TooLarge {
        /// The path of the file.
        path: PathBuf,
        /// The limit of the file size in bytes.
        max_bytes: usize,
    },
    /// The kernel refused the operation.
    #[error(
        "cannot {operation} {}: {source}{}",
        printable_path(path),
        remedy(source)
    )]
    System {
        /// The operation on the file that failed, such as `open`.
        operation: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
}

crate::debug_as_display!(FileError);

impl FileError {
    pub(super) fn system(operation: &'static str, path: &Path, error: Errno) -> Self {
        Self::System {
            operation,
            path: path.to_owned(),
            source: error.into(),
        }
    }

    /// Returns whether the file does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Returns the remedy for an error of the kernel, with which the message ends.
fn remedy(source: &io::Error) -> &'static str {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => "; check the path, and that its folder exists",
        Some(Errno::NOTDIR | Errno::ISDIR) => "; use the path of a file in an existing folder",
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            "; use a path that this user may access, or change its permissions"
        }
        Some(Errno::NOSPC | Errno::DQUOT) => "; free some space, or use a path on another disk",
        Some(Errno::FBIG) => "; raise the limit of file sizes (ulimit -f)",
        Some(Errno::LOOP) => "; remove the loop of symbolic links on this path",
        _ => "",
    }
}

impl From<FileError> for io::Error {
    fn from(error: FileError) -> Self {
        let kind = match &error {
            FileError::System { source, .. } => source.kind(),
            FileError::Owner { .. } => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::InvalidInput,
        };
        Self::new(kind, error)
    }
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character or block device.
    Device,
    /// A type that this crate does not know.
    Other,
}

impl FileKind {
    pub(super) fn of(mode: u32) -> Self {
        match FileType::from_raw_mode(mode) {
            FileType::RegularFile => Self::Regular,
            FileType::Directory => Self::Folder,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => Self::Device,
            _ => Self::Other,
        }
    }

    pub(super) fn must_be_regular(
        self,
        operation: &'static str,
        path: &Path,
    ) -> Result<(), FileError> {
        self.must_be(Self::Regular, operation, path)
    }

    pub(super) fn must_be(
        self,
        wanted: Self,
        operation: &'static str,
        path: &Path,
    ) -> Result<(), FileError> {
        if self == wanted {
            return Ok(());
        }
        Err(FileError::Kind {
            operation,
            path: path.to_owned(),
            kind: self,
            wanted,
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Regular => "a regular file",
            Self::Folder => "a folder",
            Self::Link => "a symbolic link",
            Self::Fifo => "a named pipe",
            Self::Socket => "a socket",
            Self::Device => "a device node",
            Self::Other => "of an unknown type",
        })
    }
}
