//! Files that take the place of others.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{FileError, FileKind};

/// How many names are tried: one that is taken was left by a process that was killed.
const NAMES: u32 = 64;

/// A file that is written under a name of its own, and takes its place when it is whole.
///
/// One that is dropped before leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    place: PathBuf,
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// Makes a file beside `path`, which nothing is changed at yet. Its owner alone may read it.
    ///
    /// # Errors
    /// [`FileError::Kind`] and [`FileError::Owner`] where something is at `path` that must not be replaced, so that this is said
    /// before any work is done; [`FileError::System`] where the kernel refuses.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        check(path)?;
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::NOCTTY
            | OFlags::CLOEXEC;
        let mut refused = Errno::EXIST;
        for _ in 0..NAMES {
            let temporary = beside(path)?;
            match rustix::fs::open(&temporary, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    return Ok(Self {
                        file: File::from(file),
                        place: path.to_owned(),
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
        Err(FileError::system("create a file beside", path, refused))
    }

    /// Puts the file in its place. What was there is gone; whoever has it open keeps it.
    ///
    /// # Errors
    /// As [`create`](Self::create), which is asked again; [`FileError::System`] where the disk is full.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.file
            .sync_all()
            .map_err(|source| self.failed("write", source))?;
        self.put()
    }

    fn put(&mut self) -> Result<(), FileError> {
        let Some(temporary) = self.temporary.as_deref() else {
            return Ok(());
        };
        let is_there = check(&self.place)?;
        let flags = if is_there {
            RenameFlags::empty()
        } else {
            // What was put there since is not ours to replace.
            RenameFlags::NOREPLACE
        };
        let moved = match rustix::fs::renameat_with(CWD, temporary, CWD, &self.place, flags) {
            // Some file systems cannot promise that nothing is replaced.
            Err(Errno::INVAL | Errno::NOSYS) if !is_there => {
                rustix::fs::renameat(CWD, temporary, CWD, &self.place)
            }
            moved => moved,
        };
        moved.map_err(|error| FileError::system("replace", &self.place, error))?;
        self.temporary = None;
        Ok(())
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> FileError {
        FileError::System {
            operation,
            path: self.place.clone(),
            source,
        }
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
            let _ = rustix::fs::unlinkat(CWD, temporary, AtFlags::empty());
        }
    }
}

/// Writes a file whole, in the place of what is there.
///
/// # Errors
/// Those of [`NewFile::create`] and [`NewFile::commit`]; what was there is as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut new = NewFile::create(path)?;
    new.write_all(bytes)
        .map_err(|source| new.failed("write", source))?;
    new.commit()
}

/// Makes a file that grows while the program runs, in the place of what is there, so that others can follow it.
///
/// # Errors
/// Those of [`NewFile::create`].
pub fn create(path: &Path) -> Result<File, FileError> {
    let mut new = NewFile::create(path)?;
    new.put()?;
    let file = new.file.try_clone();
    file.map_err(|source| new.failed("create", source))
}

/// Returns whether something is at a path that may be replaced: a regular file of this user. False where nothing is there.
fn check(path: &Path) -> Result<bool, FileError> {
    let operation = "replace";
    let stat = match rustix::fs::lstat(path) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(false),
        Err(error) => return Err(FileError::system(operation, path, error)),
    };
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
    Ok(true)
}

/// Returns a name in the same folder that no other thread or process takes.
fn beside(path: &Path) -> Result<PathBuf, FileError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| FileError::system("create", path, Errno::ISDIR))?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsString::from(".");
    // A long name must not become too long by what is added to it.
    temporary.push(name.to_string_lossy().chars().take(40).collect::<String>());
    temporary.push(format!(".{}-{number}", std::process::id()));
    Ok(path.with_file_name(temporary))
}
