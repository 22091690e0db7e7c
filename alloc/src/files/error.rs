//! Why a file is not read or written.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;
use thiserror::Error;

use crate::text::printable_path;

/// Why a file is not read or written. Nothing on the disk was changed.
#[derive(Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is no regular file.
    #[error(
        "cannot {operation} {}: it is {kind}, and only {wanted} is taken here; name another path",
        printable_path(path)
    )]
    Kind {
        /// What was asked.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// What is there.
        kind: FileKind,
        /// What may be.
        wanted: FileKind,
    },
    /// It belongs to another user.
    #[error(
        "cannot {operation} {}: it belongs to user {owner}, and this program runs as user {user}; remove it or name another path",
        printable_path(path)
    )]
    Owner {
        /// What was asked.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// Its owner's number.
        owner: u32,
        /// This process's effective user.
        user: u32,
    },
    /// It is longer than any such file may be.
    #[error(
        "cannot read {}: it has more than {most} bytes, the most that are read of such a file",
        printable_path(path)
    )]
    TooLarge {
        /// The path.
        path: PathBuf,
        /// The limit in bytes.
        most: usize,
    },
    /// The kernel refused.
    #[error(
        "cannot {operation} {}: {source}{}",
        printable_path(path),
        remedy(source)
    )]
    System {
        /// What was asked.
        operation: &'static str,
        /// The path.
        path: PathBuf,
        /// What the kernel answered.
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

    /// Returns whether there is no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What helps against an answer of the kernel, to stand behind it.
fn remedy(source: &io::Error) -> &'static str {
    match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => "; is the path right, and is its folder there?",
        Some(Errno::NOTDIR | Errno::ISDIR) => "; name a file in a folder that is there",
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            "; name a path that this user may use, or change its permissions"
        }
        Some(Errno::NOSPC | Errno::DQUOT) => "; free some space, or name a path on another disk",
        Some(Errno::FBIG) => "; raise the limit of file sizes (ulimit -f)",
        Some(Errno::LOOP) => "; the links on this path lead in a circle",
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

/// What a path leads to.
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
    /// Something that this crate does not know.
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
            Self::Other => "no regular file",
        })
    }
}
