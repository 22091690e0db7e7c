//! The cache folder, outside of the checkout. It contains what takes long to build: packages, roots, images and stored results.
//!
//! ```text
//! covalent/
//!   lock                 locked by the run that makes or removes something
//!   packages/            Debian's packages and package lists
//!   roots/KEY/           one root: root/, modules/, and record.json when it is complete
//!   images/KEY/          one image: kernel, initrd, disk, and manifest.json when it is complete
//!   kernels/KEY/         one kernel of another Debian release: kernel, initrd, modules, and manifest.json when it is complete
//!   peers/KEY/           one disk with other projects' programs: disk, and manifest.json when it is complete
//!   board-roots/, board-images/, packages/board/    the same for the board
//!   logs/                the output of the tools in the last run
//!   partial/             unfinished files; without a lock holder they are left over
//!   rubbish/             files that are being removed
//! ```
//! Removing a tree of 50,000 files can take a minute. So the tree is moved to `rubbish` at once, and its files are removed in the
//! background while the caller continues. If the run ends before all files are removed, the next run removes the remaining files.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use covalent_alloc::files::{FileAccess, make_folder};
use rustix::fs::{FlockOperation, OFlags, flock};

use super::namespace::{namespace, spawn_bound_to_process};
use super::progress::Progress;

/// How long one run waits for another run that builds the image. It is longer than the slowest first run.
const LOCK_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The time limit to remove a tree of 50,000 files on a slow disk.
const REMOVE_DEADLINE: Duration = Duration::from_secs(600);

/// Flags of open(2), with which no symbolic link is followed and no FIFO blocks. Their values fit an `i32`.
#[allow(clippy::cast_possible_wrap, reason = "open(2) takes them as an int")]
const OPEN_FLAGS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// The reason why the cache folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// No environment variable names a folder.
    #[error(
        "find the cache folder: neither COVALENT_CACHE nor XDG_CACHE_HOME nor HOME is an absolute path; set COVALENT_CACHE"
    )]
    NoFolder,
    /// The folder belongs to another user.
    #[error(
        "the cache {} belongs to user {owner}, and this is user {user}: its programs would be run as you; set COVALENT_CACHE to a folder of yours", .path.display()
    )]
    Owner {
        /// The cache folder.
        path: PathBuf,
        /// The user to whom the folder belongs.
        owner: u32,
        /// The user who runs this program.
        user: u32,
    },
    /// Every user can write to the folder.
    #[error(
        "every user may write to the cache {}, and its programs would be run as you: `chmod o-w` it, or set COVALENT_CACHE to another folder", .path.display()
    )]
    Open {
        /// The cache folder.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(
        "{operation} {path}: {source}; check the folder's owner and the free disk space, or set COVALENT_CACHE to another folder"
    )]
    File {
        /// The file operation that failed.
        operation: &'static str,
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// Another run holds the lock.
    #[error("another run has held {path} for {seconds} s: wait for it, or end it")]
    Busy {
        /// The lock file of the cache.
        path: PathBuf,
        /// How long this run has waited, in seconds.
        seconds: u64,
    },
}

/// The cache folder.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens the folder that the environment names: `COVALENT_CACHE`, or else `XDG_CACHE_HOME/covalent`, or else
    /// `~/.cache/covalent`.
    ///
    /// # Errors
    /// No variable holds an absolute path, or the folder cannot be made.
    pub fn from_environment() -> Result<Self, CacheError> {
        let folder =
            folder(|name| std::env::var_os(name).map(PathBuf::from)).ok_or(CacheError::NoFolder)?;
        Self::open(&folder)
    }

    /// Opens the cache in `folder`, and creates the folder if it is missing.
    ///
    /// # Errors
    /// The folder cannot be made, belongs to another user, or is writable for everybody.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        make_folder(folder, FileAccess::Private)
            .map_err(|error| file_error("make the folder", folder)(error.into()))?;
        let folder = folder.canonicalize().map_err(file_error("find", folder))?;
        // This user, and even root, runs programs in this folder. A user who can write to the folder could make this user run any
        // program.
        let metadata = fs::metadata(&folder).map_err(file_error("look at", &folder))?;
        let user = rustix::process::geteuid().as_raw();
        if metadata.uid() != user {
            return Err(CacheError::Owner {
                path: folder,
                owner: metadata.uid(),
                user,
            });
        }
        if metadata.mode() & 0o002 != 0 {
            return Err(CacheError::Open { path: folder });
        }
        Ok(Self { folder })
    }

    /// Returns the cache folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the folder of packages and package lists.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.folder.join("packages")
    }

    /// Returns the folder for items of one kind.
    #[must_use]
    pub fn subfolder(&self, kind: CacheFolder) -> PathBuf {
        self.folder.join(match kind {
            CacheFolder::Roots => "roots",
            CacheFolder::Images => "images",
            CacheFolder::Kernels => "kernels",
            CacheFolder::Peers => "peers",
            CacheFolder::BoardRoots => "board-roots",
            CacheFolder::BoardImages => "board-images",
        })
    }

    /// Returns the folder of the tools' logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Returns the folder of unfinished files. Only the holder of the lock may create or remove files in it.
    #[must_use]
    pub fn partial(&self) -> PathBuf {
        self.folder.join("partial")
    }

    /// Waits until no other run creates or removes items, and locks the cache. When the returned value is dropped, the cache is
    /// unlocked.
    ///
    /// # Errors
    /// The lock file cannot be made, or another run holds it for half an hour.
    pub fn lock(&self, progress: &Progress) -> Result<Lock, CacheError> {
        let path = self.folder.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(OPEN_FLAGS)
            .open(&path)
            .map_err(file_error("open the lock", &path))?;
        let started = Instant::now();
        let step = progress.step("wait for another run");
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    step.done();
                    return Ok(Lock { _file: file });
                }
                Err(rustix::io::Errno::WOULDBLOCK) if started.elapsed() < LOCK_DEADLINE => {
                    step.alive();
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(CacheError::Busy {
                        path,
                        seconds: started.elapsed().as_secs(),
                    });
                }
                Err(errno) => return Err(file_error("lock", &path)(errno.into())),
            }
        }
    }
}

impl Cache {
    /// Creates an empty folder `name` below [`Cache::partial`]. An item is built in this folder, and then moved to its final
    /// path.
    ///
    /// # Errors
    /// A file operation fails.
    pub fn partial_folder(&self, lock: &Lock, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.partial().join(name);
        self.discard(lock, &path)?;
        fs::create_dir_all(&path).map_err(file_error("make the folder", &path))?;
        Ok(path)
    }

    /// Discards the unfinished files of runs that were killed.
    ///
    /// # Errors
    /// A file operation fails.
    pub fn discard_partial(&self, lock: &Lock) -> Result<(), CacheError> {
        self.discard(lock, &self.partial())
    }

    /// Discards the packages and package lists.
    ///
    /// # Errors
    /// A file operation fails.
    pub fn discard_packages(&self, lock: &Lock) -> Result<(), CacheError> {
        self.discard(lock, &self.packages())
    }

    /// Discards a file or a tree: one rename moves it to the folder `rubbish`, so that no run finds an incomplete item at the
    /// path. [`Cache::remove_discarded`] deletes it.
    ///
    /// # Errors
    /// The path cannot be moved. A missing path is no error.
    pub fn discard(&self, _lock: &Lock, path: &Path) -> Result<(), CacheError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let discarded = self.discarded_folder();
        fs::create_dir_all(&discarded).map_err(file_error("make the folder", &discarded))?;
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let name = format!("{time}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        match fs::rename(path, discarded.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(file_error("move away", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Starts to remove all discarded files in the background.
    ///
    /// # Errors
    /// The process that removes them cannot be started.
    pub fn remove_discarded(&self) -> Result<(), CacheError> {
        if let Some(mut child) = self.start_removal()? {
            // If the process does not finish, the next run removes the remaining files.
            std::thread::spawn(move || child.wait());
        }
        Ok(())
    }

    /// Removes all discarded files, and waits until they are gone.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove_discarded_and_wait(&self, progress: &Progress) -> Result<(), CacheError> {
        let discarded = self.discarded_folder();
        let Some(mut child) = self.start_removal()? else {
            return Ok(());
        };
        let step = progress.step("remove files");
        let started = Instant::now();
        loop {
            match child
                .try_wait()
                .map_err(file_error("wait for rm of", &discarded))?
            {
                Some(status) if status.success() => break,
                Some(status) => {
                    return Err(file_error("remove", &discarded)(io::Error::other(format!(
                        "rm: {status}"
                    ))));
                }
                None if started.elapsed() > REMOVE_DEADLINE => {
                    // The next run removes the remaining files.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(file_error("remove", &discarded)(
                        io::ErrorKind::TimedOut.into(),
                    ));
                }
                None => {
                    step.alive();
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        }
        step.done();
        Ok(())
    }

    /// Returns the folder into which discarded items are moved before they are removed.
    fn discarded_folder(&self) -> PathBuf {
        self.folder.join("rubbish")
    }

    /// Starts a process that removes the discarded files, if there are any. The process runs in the namespaces of [`namespace`],
    /// because only there can a user other than root remove files of subordinate user ids.
    fn start_removal(&self) -> Result<Option<Child>, CacheError> {
        let discarded = self.discarded_folder();
        let is_empty =
            fs::read_dir(&discarded).map_or(true, |mut entries| entries.next().is_none());
        if is_empty {
            return Ok(None);
        }
        let args = namespace();
        let mut command = Command::new(args[0]);
        command.args(&args[1..]).args(["find"]).arg(&discarded);
        command.args(["-mindepth", "1", "-xdev", "-delete"]);
        // Two runs may remove files at the same time. Each of them then gets errors for files that the other run has removed.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        spawn_bound_to_process(command)
            .map(Some)
            .map_err(file_error("start the removal of", &discarded))
    }

    /// Discards all items of a kind, except the `keep` items that were used last, and the items that a run is using.
    ///
    /// # Errors
    /// A file operation fails.
    pub fn keep_newest(
        &self,
        lock: &Lock,
        kind: CacheFolder,
        keep: usize,
        progress: &Progress,
    ) -> Result<(), CacheError> {
        for item in self.newest_first(kind)?.iter().skip(keep) {
            if is_in_use(item)? {
                progress.note(&format!(
                    "{} is not removed, because another run uses it",
                    item.display()
                ));
            } else {
                self.discard(lock, item)?;
            }
        }
        Ok(())
    }

    /// Returns the folders of the items of a kind, the most recently used first.
    fn newest_first(&self, kind: CacheFolder) -> Result<Vec<PathBuf>, CacheError> {
        let folder = self.subfolder(kind);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(file_error("list", &folder)(error)),
        };
        let mut items = Vec::new();
        for entry in entries {
            let path = entry.map_err(file_error("list", &folder))?.path();
            // An unfinished item has no mark of its last use, and sorts last.
            let used = fs::metadata(path.join(USE_MARK)).and_then(|metadata| metadata.modified());
            items.push((used.ok(), path));
        }
        items.sort();
        Ok(items.into_iter().rev().map(|(_, path)| path).collect())
    }
}

/// The kinds of items in the cache. Each item has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheFolder {
    /// Root file systems (Debian trees) for the PC.
    Roots,
    /// Images of the PC.
    Images,
    /// Kernels of other Debian releases for the PC.
    Kernels,
    /// Disks with the programs of other projects.
    Peers,
    /// Root file systems (Debian trees) with the cross-compilers for the board.
    BoardRoots,
    /// Images of the board.
    BoardImages,
}

impl CacheFolder {
    /// All kinds of items in the cache.
    pub const ALL: [Self; 6] = [
        Self::Kernels,
        Self::Peers,
        Self::Images,
        Self::Roots,
        Self::BoardImages,
        Self::BoardRoots,
    ];
}

/// The name of the file whose modification time is the last use of the item. A run that uses the item holds the file's lock.
const USE_MARK: &str = "used";

/// Marks a root file system or an image as in use, so that no run removes it. When the value is dropped, the item is no longer in
/// use.
#[derive(Debug)]
pub struct InUse {
    _mark: File,
}

impl InUse {
    /// Marks `item` as in use, from now until the value is dropped.
    ///
    /// # Errors
    /// The mark cannot be made or locked.
    pub fn new(item: &Path) -> Result<Self, CacheError> {
        let path = item.join(USE_MARK);
        let mark = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .custom_flags(OPEN_FLAGS)
            .open(&path)
            .map_err(file_error("mark", &path))?;
        mark.set_modified(SystemTime::now())
            .map_err(file_error("mark", &path))?;
        flock(&mark, FlockOperation::LockShared)
            .map_err(|errno| file_error("lock", &path)(errno.into()))?;
        Ok(Self { _mark: mark })
    }
}

/// Returns whether another process uses the item.
fn is_in_use(item: &Path) -> Result<bool, CacheError> {
    let path = item.join(USE_MARK);
    let mark = match File::open(&path) {
        Ok(mark) => mark,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(file_error("open", &path)(error)),
    };
    match flock(&mark, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(file_error("lock", &path)(errno.into())),
    }
}

/// The lock that allows a run to create and remove items in the cache. When it is dropped, the cache is unlocked.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Returns the cache's folder according to the environment; `None` if no variable names one.
fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // A relative path would depend on the working directory. The XDG specification requires that it is ignored.
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    absolute("COVALENT_CACHE")
        .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("covalent")))
        .or_else(|| Some(absolute("HOME")?.join(".cache/covalent")))
}

/// Returns a function that makes the error of a failed operation on a file.
fn file_error(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::File {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
