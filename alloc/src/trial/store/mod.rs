//! The file that keeps trial results: `$XDG_CACHE_HOME/covalent/facts.json`.
//!
//! ```json
//! {
//!   "format": "covalent facts",
//!   "version": 1,
//!   "facts": [
//!     {
//!       "participant": { "driver": "virtio_gpu", "location": "virtio0", "role": "display" },
//!       "effect": {
//!         "refuses": {
//!           "source": "heap:system",
//!           "scope": { "fourcc": "XR24", "modifier": "LINEAR", "extent": null },
//!           "refusal": {
//!             "kind": "structural", "device": "/dev/dri/card0", "operation": "PRIME_FD_TO_HANDLE",
//!             "cause": { "errno": 19 }, "words": "…"
//!           }
//!         }
//!       },
//!       "conditions": {
//!         "kernel": "7.3.4", "mesa": "26.1.6-1", "memory_mebibytes": 2048, "iommu": false, "swiotlb": "",
//!         "host": ["virtio0 gpu features 1 2"]
//!       },
//!       "origin": { "learnt": { "at": 1800000000, "times": 2 } },
//!       "expires": 1802592000
//!     }
//!   ]
//! }
//! ```
//!
//! A participant's `interface` (`kernel`, `gbm` or `vulkan`) distinguishes the participants of one device that import by PRIME, by GBM
//! and by Vulkan.
//!
//! A field that is missing or null in a participant, a scope or the conditions matches everything. Times are seconds since 1970.
//!
//! # What is read
//! The file has to be a regular file of the user or of root. It is opened without blocking. Root reads only files of root, and so not
//! those of the user whose `HOME` it has. Reading changes nothing and needs no write permission. An empty file has no results.
//!
//! # What is written
//! A new file is written next to the old one and renamed over it, under a lock that other processes respect. Folders are created for
//! their owner only (mode 0700). Nothing is written into a folder of another user, through a link, or over a file that is not a
//! regular file of this user that was read as trial results before.
//!
//! # What happens to a file that cannot be read
//! | the file | is |
//! | --- | --- |
//! | begins as this crate writes it, and is truncated or altered | renamed to an unused name, and kept; trial results are learnt again |
//! | is of a newer version, or has a field or value that a newer version may know | not changed |
//! | is anything else: another format, a picture, a FIFO, a device node, a link to one, a file of another user | not changed |
//!
//! As long as such a file exists, no results are read from it and none are written over it, and each error says so. A person has to
//! move it.
//!
//! # Bounds
//! A file has at most 8 MiB. Where the results need more, the oldest are not kept. Reading takes at most 64 times the file's length of
//! memory, and time linear in its length. The depth of the JSON is at most 128.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use thiserror::Error;

use covalent_machine::trial_results::{Origin, TrialResult, TrialResults};

use super::environment::environment;
use super::json_path;
use crate::files::{self, FileError};

pub use user::{keep_trial_results, load_trial_results};

mod user;
use crate::text::{Printable, printable_path};

const FORMAT: &str = "covalent facts";

/// The version that this crate reads and writes.
const VERSION: u32 = 1;

/// The most bytes of a file. This crate never writes a longer one.
const MAX_BYTES: usize = 8 << 20;

/// The beginning of a file that this crate has written, without white space.
const BEGINNING: [&str; 4] = ["{", "\"format\"", ":", "\"covalent facts\""];

/// The file that keeps trial results.
#[derive(Clone, Debug)]
pub struct TrialResultStore {
    path: PathBuf,
}

/// Trial results were not read or not written.
#[derive(Error)]
#[non_exhaustive]
pub enum TrialResultError {
    /// No environment variable names a cache folder.
    #[error(
        "trial results have no folder: neither XDG_CACHE_HOME nor HOME is an absolute path; set one of them"
    )]
    NoCacheFolder,
    /// The file must not be read or written, or the kernel refused. Nothing was changed.
    #[error("trial results: {0}")]
    File(#[from] FileError),
    /// The results cannot be converted to JSON.
    #[error(
        "trial results in {}: conversion to JSON failed: {source}",
        printable_path(path)
    )]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// Another process has held the lock for several seconds.
    #[error(
        "trial results: another process has held the lock {} for {seconds} s; end it if it hangs",
        printable_path(path)
    )]
    Locked {
        /// The path of the lock file.
        path: PathBuf,
        /// How long this process waited.
        seconds: u64,
    },
    /// The file system cannot lock the file.
    #[error("trial results: flock of {} failed: {source}", printable_path(path))]
    Lock {
        /// The path of the lock file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The file is of a newer version of this crate.
    #[error(
        "{} was written by a newer version of Covalent (version {version} of the format, and this version reads {VERSION}); the file is not changed, and its trial results are not used",
        printable_path(path)
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The file has a field or value that this version does not know, or it is not a file of trial results.
    #[error(
        "{} cannot be read as trial results ({}); the file is not changed, and no trial results are kept until you move it",
        printable_path(path),
        Printable(why)
    )]
    Unrecognised {
        /// The file.
        path: PathBuf,
        /// The error, with its path in the JSON.
        why: String,
    },
    /// This crate has written the file, and it was truncated or altered since.
    #[error(
        "{} is damaged ({}); it was moved to {}, and trial results are learnt again; delete the moved file when you no longer need it",
        printable_path(path),
        Printable(why),
        printable_path(aside)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The new path of the file.
        aside: PathBuf,
        /// The error, with its path in the JSON.
        why: String,
    },
}

crate::debug_as_display!(TrialResultError);

/// The fields that identify a file of trial results and its version. They are read before all others.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    format: String,
    version: u32,
    #[serde(rename = "facts")]
    results: Vec<TrialResult>,
}

impl TrialResultStore {
    /// Returns the store of the user. Its file need not exist.
    ///
    /// # Errors
    /// [`TrialResultError::NoCacheFolder`].
    ///
    /// # References
    /// XDG Base Directory Specification: relative paths are ignored.
    pub fn for_user() -> Result<Self, TrialResultError> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let cache = absolute("XDG_CACHE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".cache")))
            .ok_or(TrialResultError::NoCacheFolder)?;
        Ok(Self::at(cache.join("covalent/facts.json")))
    }

    /// Returns the store with the file at `path`.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns the time in seconds since 1970; 0 where the clock is before 1970.
    #[must_use]
    pub fn now() -> u64 {
        now()
    }

    /// Returns trial results as the text of a file.
    ///
    /// # Errors
    /// A result contains a value that JSON cannot represent, which no result of this crate does.
    pub fn to_text(results: &[TrialResult]) -> serde_json::Result<String> {
        let contents = Contents {
            format: FORMAT.to_owned(),
            version: VERSION,
            results: results.to_vec(),
        };
        Ok(serde_json::to_string_pretty(&contents)? + "\n")
    }

    /// Returns the path of the file, which need not exist.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the trial results for this machine and time: those that ship with the crate, and those of the file.
    ///
    /// Where the file cannot be read, the results have only those that ship, and the error comes with them.
    pub fn load(&self) -> (TrialResults, Result<(), TrialResultError>) {
        let mut results = TrialResults::with_quirks(environment(), now());
        match self.read() {
            Ok(learnt) => {
                learnt.into_iter().for_each(|result| results.add(result));
                (results, Ok(()))
            }
            Err(error) => (results, Err(error)),
        }
    }

    /// Reads the trial results of the file. There are none where the file does not exist.
    ///
    /// # Errors
    /// [`TrialResultError::Damaged`] once, since the file is then moved. [`TrialResultError::Newer`],
    /// [`TrialResultError::Unrecognised`] and [`TrialResultError::File`], which leave the file unchanged.
    pub fn read(&self) -> Result<Vec<TrialResult>, TrialResultError> {
        let text = match files::read_own(&self.path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Vec::new());
        }
        let head: Head = match serde_json::from_slice(&text) {
            Ok(head) => head,
            Err(error) => return Err(self.parse_error(&text, &error)),
        };
        if head.format != FORMAT {
            return Err(self.unrecognised(format!("its format is {:?}", head.format)));
        }
        if head.version > u64::from(VERSION) {
            return Err(TrialResultError::Newer {
                path: self.path.clone(),
                version: u32::try_from(head.version).unwrap_or(u32::MAX),
            });
        }
        if head.version == 0 {
            return Err(
                self.unrecognised("its version is 0, and the first version is 1".to_owned())
            );
        }
        match serde_json::from_slice::<Contents>(&text) {
            Ok(contents) => Ok(contents.results),
            Err(error) => Err(self.parse_error(&text, &error)),
        }
    }

    /// Returns the error of a text that cannot be parsed. Moves the file first where this crate has certainly written it and no newer
    /// version may have.
    fn parse_error(&self, text: &[u8], error: &serde_json::Error) -> TrialResultError {
        let words = error.to_string();
        let why = match json_path::of(text, error) {
            path if path.is_empty() => words.clone(),
            path => format!("{path}: {words}"),
        };
        // Serde has no error category for an unknown field or variant, which a newer version may know. Its message begins so.
        let is_newer = error.classify() == Category::Data && words.starts_with("unknown ");
        if is_newer || !is_written_by_covalent(text) {
            self.unrecognised(why)
        } else {
            self.set_aside(text, why)
        }
    }

    fn unrecognised(&self, why: String) -> TrialResultError {
        TrialResultError::Unrecognised {
            path: self.path.clone(),
            why,
        }
    }

    /// Reads the file, lets `change` add and remove trial results, and writes the file. Other processes that update it wait meanwhile.
    ///
    /// Expired results are left out, and so are the oldest where the file would be too long. A damaged file is moved first, and
    /// `change` then begins with no results.
    ///
    /// # Errors
    /// [`TrialResultError::Newer`], [`TrialResultError::Unrecognised`], [`TrialResultError::Locked`], [`TrialResultError::File`]. The
    /// file is then unchanged.
    pub fn update<T>(
        &self,
        change: impl FnOnce(&mut TrialResults) -> T,
    ) -> Result<T, TrialResultError> {
        files::create_private_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        let _lock = self.lock()?;
        let mut results = TrialResults::empty(environment(), now());
        match self.read() {
            Ok(learnt) => learnt.into_iter().for_each(|one| results.add(one)),
            Err(error @ TrialResultError::Damaged { .. }) => tracing::warn!(%error),
            Err(error) => return Err(error),
        }
        let returned = change(&mut results);
        let kept: Vec<TrialResult> = results
            .learnt()
            .filter(|one| one.expires.is_none_or(|end| results.now() < end))
            .cloned()
            .collect();
        self.write(kept)?;
        Ok(returned)
    }

    fn write(&self, mut results: Vec<TrialResult>) -> Result<(), TrialResultError> {
        let text = loop {
            let text = Self::to_text(&results).map_err(|source| TrialResultError::Unwritable {
                path: self.path.clone(),
                source,
            })?;
            if text.len() <= MAX_BYTES || results.is_empty() {
                break text;
            }
            // A longer file could not be read. The oldest half is dropped; what still matters of it is learnt again.
            results.sort_by_key(|one| match one.origin {
                Origin::Learnt { at, .. } => at,
                Origin::Quirk { .. } => 0,
            });
            results.drain(..results.len().div_ceil(2));
        };
        Ok(files::replace(&self.path, text.as_bytes())?)
    }

    /// Waits for the lock. It is a separate file, since the file of results is replaced at each change.
    fn lock(&self) -> Result<File, TrialResultError> {
        const TRIES: u32 = 100;
        const PAUSE: Duration = Duration::from_millis(50);
        let path = self.beside("lock");
        let file = files::open_lock(&path)?;
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(PAUSE),
                Err(error) => {
                    return Err(TrialResultError::Lock {
                        path,
                        source: error.into(),
                    });
                }
            }
        }
        Err(TrialResultError::Locked {
            path,
            seconds: PAUSE.saturating_mul(TRIES).as_secs(),
        })
    }

    /// Renames the file that was read as `text`, so that its contents are kept.
    fn set_aside(&self, text: &[u8], why: String) -> TrialResultError {
        let first = self.beside(&format!("damaged-{}", now()));
        // A second damaged file within the same second must not replace the first.
        let names = std::iter::once(first.clone()).chain((2..100).map(move |number| {
            let mut name = first.clone().into_os_string();
            name.push(format!("-{number}"));
            PathBuf::from(name)
        }));
        // Another process may have replaced the file since.
        match files::read_own(&self.path, MAX_BYTES) {
            Ok(again) if again == text => {}
            Ok(_) => {
                return self.unrecognised(format!("{why}; another process has changed it since"));
            }
            Err(error) => return error.into(),
        }
        match files::move_aside(&self.path, names) {
            Ok(aside) => TrialResultError::Damaged {
                path: self.path.clone(),
                aside,
                why,
            },
            Err(error) => error.into(),
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }
}

/// Returns whether a text begins as this crate writes a file.
fn is_written_by_covalent(text: &[u8]) -> bool {
    let mut rest = text;
    BEGINNING.iter().all(
        |word| match rest.trim_ascii_start().strip_prefix(word.as_bytes()) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        },
    )
}

/// Returns the time in seconds since 1970; 0 where the clock is before 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
