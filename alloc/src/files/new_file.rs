//! Files that replace others when they are complete.

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

/// How many temporary names are tried. A name exists where a process was killed before it removed its file.
const MAX_NAMES: u32 = 64;

/// The most bytes of the file's name that its temporary name contains, since a name has at most 255 bytes.
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
    /// Creates a temporary file in the folder of `path`. Only its owner may read it. Nothing at `path` changes yet.
    ///
    /// # Errors
    /// [`FileError::Kind`] and [`FileError::Owner`] where something at `path` must not be replaced, so that the program fails before it
    /// does its work; [`FileError::System`] where the kernel refuses.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        Self::create_for(path, FileAccess::Private)
    }

    /// Creates a temporary file as [`create`](Self::create) does, with the given access.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
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
    /// Those of [`create`](Self::create), whose checks are made again; [`FileError::System`] where the disk is full.
    pub fn commit(mut self) -> Result<(), FileError> {
        match rustix::fs::fsync(&self.file) {
            // Some file systems have no backing storage, so fsync has nothing to do.
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
            // A file that another process has created since must not be replaced.
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
            // This process has created the file under its own temporary name. An error cannot be returned from drop.
            let _ = rustix::fs::unlinkat(&self.target.folder, temporary, AtFlags::empty());
        }
    }
}

/// Writes a complete file and replaces the old one.
///
/// # Errors
/// Those of [`NewFile::create`] and [`NewFile::commit`]. The old file is then unchanged.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_for(path, bytes, FileAccess::Private)
}

/// Writes a complete file as [`replace`] does, with the given access.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_for(path: &Path, bytes: &[u8], access: FileAccess) -> Result<(), FileError> {
    let mut new = NewFile::create_for(path, access)?;
    new.write_all(bytes).map_err(|source| FileError::System {
        operation: "write",
        path: path.to_owned(),
        source,
    })?;
    new.commit()
}

/// Creates an empty file that replaces the old one at once. It is for a file that grows while the program runs and that others follow.
///
/// # Errors
/// Those of [`NewFile::create`].
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
/// [`FileError::Kind`] where `path` is not a folder, [`FileError::System`] where the kernel refuses.
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

/// Checks that a file can be written at a path later. It is for a file that a program writes at the end of a long run.
///
/// # Errors
/// Those of [`NewFile::create`]. Nothing is created.
pub fn check(path: &Path) -> Result<(), FileError> {
    let target = Target::open(path)?;
    target.check()?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::accessat(&target.folder, ".", access, AtFlags::EACCESS) {
        // Kernels before 5.8 have no faccessat2. The error then occurs at the write.
        Ok(()) | Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(FileError::system("write", path, error)),
    }
}

/// Checks that a library that removes an existing file may bind a socket at a path: nothing exists there, or a socket of this user.
///
/// # Errors
/// [`FileError::Kind`] and [`FileError::Owner`] for a file that must be kept, [`FileError::System`] where the kernel refuses.
pub fn check_socket(path: &Path) -> Result<(), FileError> {
    Target::open(path)?.check_for(FileKind::Socket).map(drop)
}

/// A name in an open folder. Changes of the path to the folder have no effect on it.
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
            // `Path` ignores a trailing `/` or `/.`, by which the kernel means a folder.
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
        // The name is shortened, so that the additions do not make it too long.
        let name = self.name.as_bytes();
        let name = name.get(..MAX_NAME_BYTES).unwrap_or(name);
        let mut temporary = OsString::from(".");
        temporary.push(OsStr::from_bytes(name));
        temporary.push(format!(".{}-{number}", std::process::id()));
        temporary
    }
}
