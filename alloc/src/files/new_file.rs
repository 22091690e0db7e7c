//! Writes files that replace an existing file only when they are complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{FileError, FileKind};

/// The maximum number of temporary names that are tried. A name is in use if a process was killed before it removed its temporary
/// file.
const MAX_NAMES: u32 = 64;

/// The maximum number of bytes of the file's name that its temporary name contains, because a file name has at most 255 bytes.
const MAX_NAME_BYTES: usize = 120;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileAccess {
    /// Only its owner (mode 0600). This is for pixels and for information about processes and machines.
    #[default]
    Private,
    /// Everyone whom the umask permits (usually mode 0644). This is for files that are equal on every machine, such as man pages.
    Shared,
}

impl FileAccess {
    const fn mode(self) -> Mode {
        match self {
            Self::Private => Mode::from_raw_mode(0o600),
            Self::Shared => Mode::from_raw_mode(0o666),
        }
    }
}

/// A file that is written under a temporary name, and renamed to its place when it is complete.
///
/// If it is dropped before [`NewFile::commit`], the temporary file is removed.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    target: Target,
    temporary: Option<OsString>,
}

impl NewFile {
    /// Creates a temporary file in the folder of `path`, which only its owner may read. A file at `path` does not change yet.
    ///
    /// # Errors
    /// [`FileError::Kind`] and [`FileError::Owner`] if a file at `path` must not be replaced, so that the program fails before it
    /// does its work; [`FileError::System`] if the kernel refuses the operation.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        Self::create_for(path, FileAccess::Private)
    }

    /// Creates a temporary file as [`create`](Self::create) does, with the given access.
    ///
    /// # Errors
    /// The errors of [`create`](Self::create).
    pub(crate) fn create_for(path: &Path, access: FileAccess) -> Result<Self, FileError> {
        let target = Target::open(path)?;
        target.check()?;
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mut error = Errno::EXIST;
        for _ in 0..MAX_NAMES {
            let temporary = target.temporary_name();
            match rustix::fs::openat(&target.folder, &temporary, flags, access.mode()) {
                Ok(file) => {
                    return Ok(Self {
                        file: File::from(file),
                        target,
                        temporary: Some(temporary),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(other) => {
                    error = other;
                    break;
                }
            }
        }
        Err(FileError::system("write", path, error))
    }

    /// Renames the file to its place, over the old file. A process that has the old file open keeps it.
    ///
    /// # Errors
    /// The errors of [`create`](Self::create), whose checks are repeated; [`FileError::System`] if the disk is full.
    pub fn commit(mut self) -> Result<(), FileError> {
        match rustix::fs::fsync(&self.file) {
            // These errors mean that the file system has no backing storage, so that there is nothing to synchronise.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.move_to_place(),
            Err(error) => Err(FileError::system("write", &self.target.path, error)),
        }
    }

    fn move_to_place(&mut self) -> Result<(), FileError> {
        let Some(temporary) = self.temporary.as_deref() else {
            return Ok(());
        };
        let Target { folder, name, path } = &self.target;
        let exists = self.target.check()?;
        let flags = if exists {
            RenameFlags::empty()
        } else {
            // No file existed when it was checked. A file that another process has created since then must not be replaced.
            RenameFlags::NOREPLACE
        };
        let moved = match rustix::fs::renameat_with(folder, temporary, folder, name, flags) {
            // Some file systems do not support NOREPLACE.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::renameat(folder, temporary, folder, name)
            }
            moved => moved,
        };
        moved.map_err(|error| FileError::system("replace", path, error))?;
        self.temporary = None;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // The error is ignored, because drop cannot return it. This process created the temporary file, so no other file is
            // removed.
            let _ = rustix::fs::unlinkat(&self.target.folder, temporary, AtFlags::empty());
        }
    }
}

/// Writes a complete file and replaces the old one.
///
/// # Errors
/// The errors of [`NewFile::create`] and [`NewFile::commit`], after which the old file is unchanged.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_for(path, bytes, FileAccess::Private)
}

/// Writes a complete file as [`replace`] does, with the given access.
///
/// # Errors
/// The errors of [`replace`].
pub fn replace_for(path: &Path, bytes: &[u8], access: FileAccess) -> Result<(), FileError> {
    let mut new = NewFile::create_for(path, access)?;
    new.write_all(bytes).map_err(|source| FileError::System {
        operation: "write",
        path: path.to_owned(),
        source,
    })?;
    new.commit()
}

/// Creates an empty file that immediately replaces the old file. It is for a file that grows while the program runs and that
/// other programs read meanwhile.
///
/// # Errors
/// The errors of [`NewFile::create`].
pub fn create(path: &Path) -> Result<File, FileError> {
    let mut new = NewFile::create(path)?;
    new.move_to_place()?;
    new.file.try_clone().map_err(|source| FileError::System {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}

/// Creates a folder for files of [`create`] and [`replace`], with its missing parents. An existing folder is not changed.
///
/// # Errors
/// [`FileError::Kind`] if `path` is not a folder; [`FileError::System`] if the kernel refuses the operation.
pub fn make_folder(path: &Path, access: FileAccess) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let operation = "create the folder";
    let mode = match access {
        FileAccess::Private => 0o700,
        FileAccess::Shared => 0o777,
    };
    let created = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path);
    match created {
        Ok(()) => Ok(()),
        Err(source) => match rustix::fs::lstat(path).map(|stat| FileKind::of(stat.st_mode)) {
            Ok(kind) if kind != FileKind::Folder => Err(FileError::Kind {
                operation,
                path: path.to_owned(),
                kind,
                wanted: FileKind::Folder,
            }),
            _ => Err(FileError::System {
                operation,
                path: path.to_owned(),
                source,
            }),
        },
    }
}

/// Checks that a file can later be written at a path. It is for a file that a program writes at the end of a long run.
///
/// # Errors
/// The errors of [`NewFile::create`]. No file is created.
pub fn check(path: &Path) -> Result<(), FileError> {
    let target = Target::open(path)?;
    target.check()?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::accessat(&target.folder, ".", access, AtFlags::EACCESS) {
        // Kernels before 5.8 have no faccessat2. With them, an error occurs only when the file is written.
        Ok(()) | Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(FileError::system("write", path, error)),
    }
}

/// Checks that the path does not exist or is a socket of this user. It is for a socket that a library binds, which removes an
/// existing file at the path.
///
/// # Errors
/// [`FileError::Kind`] and [`FileError::Owner`] for a file that must be kept; [`FileError::System`] if the kernel refuses the
/// operation.
pub fn check_socket(path: &Path) -> Result<(), FileError> {
    Target::open(path)?.check_for(FileKind::Socket).map(drop)
}

/// A file name in an open folder. If the path to the folder is renamed or replaced, the open folder is still used.
#[derive(Debug)]
struct Target {
    folder: OwnedFd,
    name: OsString,
    /// The path as the caller gave it, for errors.
    path: PathBuf,
}

impl Target {
    fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::system("write", path, error);
        let bytes = path.as_os_str().as_bytes();
        let name = match path.file_name() {
            // A path with a trailing `/` or `/.` names a folder for the kernel, which `Path::file_name` ignores.
            Some(name) if !bytes.ends_with(b"/") && !bytes.ends_with(b"/.") => name,
            _ if bytes.is_empty() => return Err(failed(Errno::NOENT)),
            _ => return Err(failed(Errno::ISDIR)),
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, folder, flags, Mode::empty()).map_err(failed)?;
        Ok(Self {
            folder: opened,
            name: name.to_owned(),
            path: path.to_owned(),
        })
    }

    /// Returns whether a file exists, after a check that it may be replaced: it has to be a regular file of this user.
    fn check(&self) -> Result<bool, FileError> {
        self.check_for(FileKind::Regular)
    }

    fn check_for(&self, wanted: FileKind) -> Result<bool, FileError> {
        let operation = "replace";
        let stat = match rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(FileError::system(operation, &self.path, error)),
        };
        FileKind::of(stat.st_mode).must_be(wanted, operation, &self.path)?;
        let user = rustix::process::geteuid().as_raw();
        if stat.st_uid != user {
            return Err(FileError::Owner {
                operation,
                path: self.path.clone(),
                owner: stat.st_uid,
                user,
            });
        }
        Ok(true)
    }

    /// Returns a temporary name in the same folder that no other thread or process uses.
    fn temporary_name(&self) -> OsString {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // The name is cut, so that the temporary name is not too long.
        let name = self.name.as_bytes();
        let name = name.get(..MAX_NAME_BYTES).unwrap_or(name);
        let mut temporary = OsString::from(".");
        temporary.push(OsStr::from_bytes(name));
        temporary.push(format!(".{}-{number}", std::process::id()));
        temporary
    }
}
