//! The folder outside the checkout that holds what is slow to make: images, packages, answers to remember.
//!
//! ```text
//! covalent/
//!   lock                 held by who makes or removes something
//!   packages/            Debian's packages and package lists, kept across tries
//!   roots/KEY/           one root: root/, modules/, and record.json when it is complete
//!   images/KEY/          one image: kernel, initrd, disk, and manifest.json when it is complete
//!   board-roots/, board-images/, packages/board/    the same for the board, which few runs need
//!   logs/                what the tools said, the last time
//!   partial/             what is being made; whatever lies here without a lock holder is rubbish
//!   rubbish/             what is being removed
//! ```
//! To remove a tree of 50,000 files can take a minute. So what is not needed is moved to `rubbish` at once and removed behind
//! the back of whoever waits for a guest; a run that ends before that leaves the rest to the next.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use covalent_alloc::files::{FileAccess, make_folder};
use rustix::fs::{FlockOperation, OFlags, flock};

use super::namespace::{namespace, spawn_kept};
use super::progress::Progress;

/// How long one run waits for another that makes the image: longer than the slowest honest first run.
const LOCK_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// How long the removal of a tree may take: 50,000 files on a slow disk.
const REMOVE_DEADLINE: Duration = Duration::from_secs(600);

/// Neither a link is followed nor a FIFO waited at. The flags are small positive numbers.
#[allow(clippy::cast_possible_wrap, reason = "open(2) takes them as an int")]
const NOT_FOLLOWED: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits() as i32;

/// What can be wrong with the cache folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// No variable names a folder.
    #[error(
        "no folder for the cache: neither COVALENT_CACHE nor XDG_CACHE_HOME nor HOME is an absolute path; set COVALENT_CACHE"
    )]
    NoFolder,
    /// The folder is another user's.
    #[error(
        "the cache {} belongs to user {owner}, and this is user {user}: what lies there would be run; set COVALENT_CACHE to a folder of yours", .path.display()
    )]
    Owner {
        /// The folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// Everybody may write to the folder.
    #[error(
        "everybody may write to the cache {}, and what lies there would be run: `chmod o-w` it, or set COVALENT_CACHE to another folder", .path.display()
    )]
    Open {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error(
        "{operation} {path}: {source}; is the folder yours, and has its disk room? COVALENT_CACHE names another"
    )]
    File {
        /// What was tried.
        operation: &'static str,
        /// On which path.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Another run holds the lock and does not let go.
    #[error("another run has held {path} for {seconds} s: wait for it, or end it")]
    Busy {
        /// The lock's file.
        path: PathBuf,
        /// How long this run has waited.
        seconds: u64,
    },
}

/// The cache's folder. Making one creates the folder, nothing else.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens the folder that the environment names: `COVALENT_CACHE`, else `XDG_CACHE_HOME/covalent`, else
    /// `~/.cache/covalent`.
    ///
    /// # Errors
    /// Where no variable holds an absolute path, or the folder cannot be made.
    pub fn from_environment() -> Result<Self, CacheError> {
        let folder =
            folder(|name| std::env::var_os(name).map(PathBuf::from)).ok_or(CacheError::NoFolder)?;
        Self::at(&folder)
    }

    /// Opens the cache in `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// Where the folder cannot be made, is another user's, or everybody may write there.
    pub fn at(folder: &Path) -> Result<Self, CacheError> {
        make_folder(folder, FileAccess::Private)
            .map_err(|error| at("make the folder", folder)(error.into()))?;
        let folder = folder.canonicalize().map_err(at("find", folder))?;
        // What is here is run, by root too: whoever can write here could run anything as this user.
        let metadata = fs::metadata(&folder).map_err(at("look at", &folder))?;
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

    /// The cache's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where packages and package lists are kept.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.folder.join("packages")
    }

    /// Where things of one kind are.
    #[must_use]
    pub fn shelf(&self, shelf: Shelf) -> PathBuf {
        self.folder.join(match shelf {
            Shelf::Roots => "roots",
            Shelf::Images => "images",
            Shelf::BoardRoots => "board-roots",
            Shelf::BoardImages => "board-images",
        })
    }

    /// Where the tools' own words go.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    /// Where unfinished things are. Only who holds the lock may write or remove here.
    #[must_use]
    pub fn partial(&self) -> PathBuf {
        self.folder.join("partial")
    }

    /// Waits until no other run makes or removes something here. The lock ends with the value, and with the process.
    ///
    /// # Errors
    /// Where the lock's file cannot be made, or another run holds it for half an hour.
    pub fn lock(&self, progress: &Progress) -> Result<Lock, CacheError> {
        let path = self.folder.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(NOT_FOLLOWED)
            .open(&path)
            .map_err(at("open the lock", &path))?;
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
                Err(errno) => return Err(at("lock", &path)(errno.into())),
            }
        }
    }
}

impl Cache {
    /// Makes an empty folder `name` under [`Cache::partial`], in which a thing is made before it is moved to its place.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn partial_folder(&self, lock: &Lock, name: &str) -> Result<PathBuf, CacheError> {
        let path = self.partial().join(name);
        self.discard(lock, &path)?;
        fs::create_dir_all(&path).map_err(at("make the folder", &path))?;
        Ok(path)
    }

    /// Takes what runs that were killed left unfinished out of the way.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn discard_partial(&self, lock: &Lock) -> Result<(), CacheError> {
        self.discard(lock, &self.partial())
    }

    /// Takes the packages and package lists out of the way.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn discard_packages(&self, lock: &Lock) -> Result<(), CacheError> {
        self.discard(lock, &self.packages())
    }

    /// Takes a file or a tree out of the way as a whole, so that no half of it is ever found in its place. [`Cache::sweep`] removes it.
    ///
    /// # Errors
    /// Where the file system refuses. That there is nothing is no error.
    pub fn discard(&self, _lock: &Lock, path: &Path) -> Result<(), CacheError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let rubbish = self.rubbish();
        fs::create_dir_all(&rubbish).map_err(at("make the folder", &rubbish))?;
        let time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let name = format!("{time}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        match fs::rename(path, rubbish.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(at("move away", path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what was discarded, while this process does other things.
    ///
    /// # Errors
    /// Where that cannot be begun.
    pub fn sweep(&self) -> Result<(), CacheError> {
        if let Some(mut child) = self.start_sweeping()? {
            // Whether it comes to an end or not, the next run sweeps again.
            std::thread::spawn(move || child.wait());
        }
        Ok(())
    }

    /// Removes what was discarded, and waits for it.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn sweep_and_wait(&self, progress: &Progress) -> Result<(), CacheError> {
        let rubbish = self.rubbish();
        let Some(mut child) = self.start_sweeping()? else {
            return Ok(());
        };
        let step = progress.step("remove files");
        let started = Instant::now();
        loop {
            match child.try_wait().map_err(at("wait for rm of", &rubbish))? {
                Some(status) if status.success() => break,
                Some(status) => {
                    return Err(at("remove", &rubbish)(io::Error::other(format!(
                        "rm: {status}"
                    ))));
                }
                None if started.elapsed() > REMOVE_DEADLINE => {
                    // The rest stays rubbish; the next run goes on.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(at("remove", &rubbish)(io::ErrorKind::TimedOut.into()));
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

    fn rubbish(&self) -> PathBuf {
        self.folder.join("rubbish")
    }

    /// Starts `rm` where there is something to remove. In the namespace of the root's owners: only there files of
    /// subordinate user ids may be removed.
    fn start_sweeping(&self) -> Result<Option<Child>, CacheError> {
        let rubbish = self.rubbish();
        let is_empty = fs::read_dir(&rubbish).map_or(true, |mut entries| entries.next().is_none());
        if is_empty {
            return Ok(None);
        }
        let words = namespace();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["find"]).arg(&rubbish);
        command.args(["-mindepth", "1", "-xdev", "-delete"]);
        // Two runs may sweep at once; each then misses what the other one has removed.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        spawn_kept(command)
            .map(Some)
            .map_err(at("start the removal of", &rubbish))
    }

    /// Takes all of a kind out of the way but the `keep` that were used last, and those that some run holds.
    ///
    /// # Errors
    /// Where the file system refuses.
    pub fn keep_newest(
        &self,
        lock: &Lock,
        shelf: Shelf,
        keep: usize,
        progress: &Progress,
    ) -> Result<(), CacheError> {
        for item in self.newest_first(shelf)?.iter().skip(keep) {
            if is_held(item)? {
                progress.note(&format!("{} stays: another run uses it", item.display()));
            } else {
                self.discard(lock, item)?;
            }
        }
        Ok(())
    }

    /// The folders of a kind, the one used last first.
    fn newest_first(&self, shelf: Shelf) -> Result<Vec<PathBuf>, CacheError> {
        let folder = self.shelf(shelf);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(at("list", &folder)(error)),
        };
        let mut items = Vec::new();
        for entry in entries {
            let path = entry.map_err(at("list", &folder))?.path();
            // What was never finished has no mark: it sorts last.
            let used = fs::metadata(path.join(MARK)).and_then(|metadata| metadata.modified());
            items.push((used.ok(), path));
        }
        items.sort();
        Ok(items.into_iter().rev().map(|(_, path)| path).collect())
    }
}

/// The kinds of things that the cache keeps by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Trees of Debian.
    Roots,
    /// What QEMU boots.
    Images,
    /// Trees of Debian that cross-compile.
    BoardRoots,
    /// What QEMU boots of a board.
    BoardImages,
}

impl Shelf {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Images,
        Self::Roots,
        Self::BoardImages,
        Self::BoardRoots,
    ];
}

/// The file whose time says when a thing was last used, and whose lock says that it is being used.
const MARK: &str = "used";

/// Keeps a root or an image from being removed, for as long as the value lives.
#[derive(Debug)]
pub struct Held {
    _mark: File,
}

impl Held {
    /// Says that `item` is used from now on.
    ///
    /// # Errors
    /// Where its mark cannot be made.
    pub fn new(item: &Path) -> Result<Self, CacheError> {
        let path = item.join(MARK);
        let mark = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .custom_flags(NOT_FOLLOWED)
            .open(&path)
            .map_err(at("mark", &path))?;
        mark.set_modified(SystemTime::now())
            .map_err(at("mark", &path))?;
        flock(&mark, FlockOperation::LockShared)
            .map_err(|errno| at("lock", &path)(errno.into()))?;
        Ok(Self { _mark: mark })
    }
}

fn is_held(item: &Path) -> Result<bool, CacheError> {
    let path = item.join(MARK);
    let mark = match File::open(&path) {
        Ok(mark) => mark,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(at("open", &path)(error)),
    };
    match flock(&mark, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(at("lock", &path)(errno.into())),
    }
}

/// The right to make and remove things in the cache.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    // A relative path would move with the working directory; the XDG specification says to ignore such.
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    absolute("COVALENT_CACHE")
        .or_else(|| Some(absolute("XDG_CACHE_HOME")?.join("covalent")))
        .or_else(|| Some(absolute("HOME")?.join(".cache/covalent")))
}

fn at(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    move |source| CacheError::File {
        operation,
        path,
        source,
    }
}

#[cfg(test)]
mod tests;
