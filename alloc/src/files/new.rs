//! Files that take the place of others.

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

/// How many names are tried: one that is taken was left by a process that was killed.
const NAMES: u32 = 64;

/// How much of a file's own name is in the temporary one, in bytes: names may have 255.
const NAME_BYTES: usize = 120;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Access {
    /// Its owner alone (mode 0600): for pixels, and for what is known of processes and machines.
    #[default]
    Private,
    /// Whoever the umask lets (mode 0644 for most): for what is the same on every machine, as man pages are.
    Shared,
}

impl Access {
    const fn mode(self) -> Mode {
        match self {
            Self::Private => Mode::from_raw_mode(0o600),
            Self::Shared => Mode::from_raw_mode(0o666),
        }
    }
}

/// A file that is written under a name of its own, and takes its place when it is whole.
///
/// One that is dropped before leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    place: Place,
    temporary: Option<OsString>,
}

impl NewFile {
    /// Makes a file beside `path`, at which nothing is changed yet. Its owner alone may read it.
    ///
    /// # Errors
    /// [`FileError::Kind`] and [`FileError::Owner`] where something is at `path` that must not be replaced, so that this is said
    /// before any work is done; [`FileError::System`] where the kernel refuses.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        Self::create_for(path, Access::Private)
    }

    /// Makes a file beside `path` as [`create`](Self::create) does, which others may read where `access` says so.
    ///
    /// # Errors
    /// Those of [`create`](Self::create).
    pub(crate) fn create_for(path: &Path, access: Access) -> Result<Self, FileError> {
        let place = Place::open(path)?;
        place.check()?;
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mut refused = Errno::EXIST;
        for _ in 0..NAMES {
            let temporary = place.another_name();
            match rustix::fs::openat(&place.folder, &temporary, flags, access.mode()) {
                Ok(file) => {
                    return Ok(Self {
                        file: File::from(file),
                        place,
                        temporary: Some(temporary),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(error) => {
                    refused = error;
                    break;
                }
            }
        }
        Err(FileError::system("write", path, refused))
    }

    /// Puts the file in its place. What was there is gone; whoever has it open keeps it.
    ///
    /// # Errors
    /// As [`create`](Self::create), which is asked again; [`FileError::System`] where the disk is full.
    pub fn commit(mut self) -> Result<(), FileError> {
        match rustix::fs::fsync(&self.file) {
            // Some file systems have nothing to write to: what was written is where it belongs.
            Ok(()) | Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.put(),
            Err(error) => Err(FileError::system("write", &self.place.path, error)),
        }
    }

    fn put(&mut self) -> Result<(), FileError> {
        let Some(temporary) = self.temporary.as_deref() else {
            return Ok(());
        };
        let Place { folder, name, path } = &self.place;
        let is_there = self.place.check()?;
        let flags = if is_there {
            RenameFlags::empty()
        } else {
            // What was put there since is not ours to replace.
            RenameFlags::NOREPLACE
        };
        let moved = match rustix::fs::renameat_with(folder, temporary, folder, name, flags) {
            // Some file systems cannot promise that nothing is replaced.
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
            // It was made here, under a name of this process; nobody is left to tell where it cannot be removed.
            let _ = rustix::fs::unlinkat(&self.place.folder, temporary, AtFlags::empty());
        }
    }
}

/// Writes a file whole, in the place of what is there.
///
/// # Errors
/// Those of [`NewFile::create`] and [`NewFile::commit`]; what was there is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace_for(path, bytes, Access::Private)
}

/// Writes a file whole as [`replace`] does, which others may read where `access` says so.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_for(path: &Path, bytes: &[u8], access: Access) -> Result<(), FileError> {
    let mut new = NewFile::create_for(path, access)?;
    new.write_all(bytes).map_err(|source| FileError::System {
        operation: "write",
        path: path.to_owned(),
        source,
    })?;
    new.commit()
}

/// Makes a file that grows while the program runs, in the place of what is there, so that others can follow it.
///
/// # Errors
/// Those of [`NewFile::create`].
pub fn create(path: &Path) -> Result<File, FileError> {
    let mut new = NewFile::create(path)?;
    new.put()?;
    new.file.try_clone().map_err(|source| FileError::System {
        operation: "write",
        path: path.to_owned(),
        source,
    })
}

/// Makes a folder for files of [`create`] and [`replace`], and those above it that are missing; what is there stays as it is.
///
/// # Errors
/// [`FileError::Kind`] where something else is there, [`FileError::System`] where the kernel refuses.
pub fn make_folder(path: &Path, access: Access) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let operation = "make the folder";
    let mode = match access {
        Access::Private => 0o700,
        Access::Shared => 0o777,
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path);
    match made {
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

/// Says whether a file can be written at a path later: for a file that is made at the end of a long run.
///
/// # Errors
/// Those of [`NewFile::create`]; nothing is made.
pub fn check(path: &Path) -> Result<(), FileError> {
    let place = Place::open(path)?;
    place.check()?;
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    match rustix::fs::accessat(&place.folder, ".", access, AtFlags::EACCESS) {
        // Kernels before 5.8 cannot say; writing will.
        Ok(()) | Err(Errno::NOSYS | Errno::INVAL) => Ok(()),
        Err(error) => Err(FileError::system("write", path, error)),
    }
}

/// Says whether a socket can be bound at a path by a library that removes what is there: nothing is, or a socket of this user.
///
/// # Errors
/// [`FileError::Kind`] and [`FileError::Owner`] for what must be kept, [`FileError::System`] where the kernel refuses.
pub fn check_socket(path: &Path) -> Result<(), FileError> {
    Place::open(path)?.check_for(FileKind::Socket).map(drop)
}

/// A name in a folder that is open: what becomes of the way to it meanwhile changes nothing.
#[derive(Debug)]
struct Place {
    folder: OwnedFd,
    name: OsString,
    /// As it was given, for errors.
    path: PathBuf,
}

impl Place {
    fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::system("write", path, error);
        let bytes = path.as_os_str().as_bytes();
        let name = match path.file_name() {
            // `Path` passes over what stands behind the name, and the kernel takes it for a folder's.
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

    /// Returns whether something is there that may be replaced: a regular file of this user. False where nothing is there.
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

    /// Returns a name in the same folder that no other thread or process takes.
    fn another_name(&self) -> OsString {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // A long name must not become too long by what is added to it.
        let name = self.name.as_bytes();
        let name = name.get(..NAME_BYTES).unwrap_or(name);
        let mut temporary = OsString::from(".");
        temporary.push(OsStr::from_bytes(name));
        temporary.push(format!(".{}-{number}", std::process::id()));
        temporary
    }
}
