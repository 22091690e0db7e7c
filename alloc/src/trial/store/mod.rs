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
//! A participant's `interface` (`kernel`, `gbm` or `vulkan`) distinguishes the participants of one device that import by PRIME,
//! by GBM and by Vulkan.
//!
//! A field that is missing or null in a participant, a scope or the conditions matches everything. Times are seconds since 1970.
//!
//! # What is read
//! The file must be a regular file that belongs to the user or to root. It is opened without blocking. A process that runs as
//! root reads only files of root, also if it has the `HOME` of a user. A read does not change the file and needs no write
//! permission. An empty file contains no results.
//!
//! # What is written
//! A new file is written in the same folder and renamed over the old file, while this process holds a lock (flock). Folders are
//! created accessible only to their owner (mode 0700). The store never writes into a folder of another user, never follows a
//! symbolic link, and replaces only a regular file of this user that it has read as trial results.
//!
//! # What happens to a file that cannot be read
//! | the file | is |
//! | --- | --- |
//! | begins as this crate writes it, and is truncated or altered | renamed to an unused name, and kept; trial results are learnt again |
//! | is of a newer version, or has a field or value that a newer version may know | not changed |
//! | is anything else: another format, a picture, a FIFO, a device node, a link to one, a file of another user | not changed |
//!
//! As long as a file that is not changed exists, no results are read or stored, and each error says so. The user has to move the
//! file.
//!
//! # Bounds
//! A file has at most 8 MiB. If the results need more, the oldest results are dropped. A read takes memory of at most 64 times
//! the file's length, and time linear in its length. The depth of the JSON is at most 128.

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

/// The version of the file format that this crate reads and writes.
const VERSION: u32 = 1;

/// The maximum length of a file in bytes. This crate never writes a longer file.
const MAX_BYTES: usize = 8 << 20;

/// The JSON tokens with which a file that this crate has written begins.
const BEGINNING: [&str; 4] = ["{", "\"format\"", ":", "\"covalent facts\""];

/// The file in which trial results are stored.
#[derive(Clone, Debug)]
pub struct TrialResultStore {
    path: PathBuf,
}

/// The error of trial results that were not read or not written.
#[derive(Error)]
#[non_exhaustive]
pub enum TrialResultError {
    /// No environment variable names a cache folder.
    #[error(
        "trial results have no folder: neither XDG_CACHE_HOME nor HOME is an absolute path; set one of them"
    )]
    NoCacheFolder,
    /// The file must not be read or written, or the kernel refused the operation. The file is unchanged.
    #[error("trial results: {0}")]
    File(#[from] FileError),
    /// The results cannot be converted to JSON.
    #[error(
        "trial results in {}: conversion to JSON failed: {source}",
        printable_path(path)
    )]
    Unwritable {
        /// The path of the file of trial results.
        path: PathBuf,
        /// The error of the conversion.
        source: serde_json::Error,
    },
    /// Another process has held the lock for several seconds.
    #[error(
        "trial results: another process has held the lock {} for {seconds} s; end that process if it hangs",
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
        /// The path of the file of trial results.
        path: PathBuf,
        /// The version of the file's format.
        version: u32,
    },
    /// The file has a field or value that this version does not know, or it is not a file of trial results.
    #[error(
        "{} cannot be read as trial results ({}); the file is not changed, and no trial results are kept until you move it",
        printable_path(path),
        Printable(why)
    )]
    Unrecognised {
        /// The path of the file of trial results.
        path: PathBuf,
        /// The error, with its path in the JSON.
        why: String,
    },
    /// This crate wrote the file, and the file was truncated or altered since then.
    #[error(
        "{} is damaged ({}); it was moved to {}, and trial results are learnt again; delete the moved file when you no longer need it",
        printable_path(path),
        Printable(why),
        printable_path(aside)
    )]
    Damaged {
        /// The path of the file of trial results.
        path: PathBuf,
        /// The new path of the file.
        aside: PathBuf,
        /// The error, with its path in the JSON.
        why: String,
    },
}

crate::debug_as_display!(TrialResultError);

/// The fields that identify a file of trial results and its version. They are parsed before the other fields.
#[derive(Deserialize)]
struct FileHeader {
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
    /// Returns the store with the user's file, which need not exist.
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

    /// Returns the time in seconds since 1970; 0 if the clock is before 1970.
    #[must_use]
    pub fn now() -> u64 {
        now()
    }

    /// Returns the text of a file with these trial results.
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
    /// If the file cannot be read, only the results that ship are returned, together with the error.
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

    /// Reads the trial results of the file; an empty list if the file does not exist.
    ///
    /// # Errors
    /// [`TrialResultError::Damaged`], after which the file is moved, so that the next call finds no file.
    /// [`TrialResultError::Newer`], [`TrialResultError::Unrecognised`] and [`TrialResultError::File`], which leave the file
    /// unchanged.
    pub fn read(&self) -> Result<Vec<TrialResult>, TrialResultError> {
        let text = match files::read_own(&self.path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Vec::new());
        }
        let header: FileHeader = match serde_json::from_slice(&text) {
            Ok(header) => header,
            Err(error) => return Err(self.parse_error(&text, &error)),
        };
        if header.format != FORMAT {
            return Err(self.unrecognised(format!("its format is {:?}", header.format)));
        }
        if header.version > u64::from(VERSION) {
            return Err(TrialResultError::Newer {
                path: self.path.clone(),
                version: u32::try_from(header.version).unwrap_or(u32::MAX),
            });
        }
        if header.version == 0 {
            return Err(
                self.unrecognised("its version is 0, and the first version is 1".to_owned())
            );
        }
        match serde_json::from_slice::<Contents>(&text) {
            Ok(contents) => Ok(contents.results),
            Err(error) => Err(self.parse_error(&text, &error)),
        }
    }

    /// Returns the error for a text that cannot be parsed. If it is certain that this crate wrote the text, and no newer version
    /// of the crate, the file is moved first.
    fn parse_error(&self, text: &[u8], error: &serde_json::Error) -> TrialResultError {
        let message = error.to_string();
        let why = match json_path::of(text, error) {
            path if path.is_empty() => message.clone(),
            path => format!("{path}: {message}"),
        };
        // An unknown field or variant may come from a newer version. serde has no error category for it, so it is recognised by
        // the beginning of the message.
        let is_newer = error.classify() == Category::Data && message.starts_with("unknown ");
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

    /// Reads the file, calls `change`, which may add and remove trial results, and writes the file. Other processes that update
    /// the file wait meanwhile.
    ///
    /// Expired results are dropped, and also the oldest results if the file would be too long. A damaged file is moved first, and
    /// `change` gets an empty list.
    ///
    /// # Errors
    /// [`TrialResultError::Newer`], [`TrialResultError::Unrecognised`], [`TrialResultError::Locked`], [`TrialResultError::File`].
    /// After an error the file is unchanged.
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
            // A file that is too long could not be read, so the older half of the results is dropped. A dropped refusal that
            // still occurs is learnt again.
            results.sort_by_key(|one| match one.origin {
                Origin::Learnt { at, .. } => at,
                Origin::Quirk { .. } => 0,
            });
            results.drain(..results.len().div_ceil(2));
        };
        Ok(files::replace(&self.path, text.as_bytes())?)
    }

    /// Waits for the lock. The lock is on a separate file, because the file of results is replaced at each change.
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
        let first_name = self.beside(&format!("damaged-{}", now()));
        // The name contains the time in seconds, so a second damaged file within the same second gets a number.
        let names = std::iter::once(first_name.clone()).chain((2..100).map(move |number| {
            let mut name = first_name.clone().into_os_string();
            name.push(format!("-{number}"));
            PathBuf::from(name)
        }));
        // The file is read again, because another process may have replaced it since it was read as `text`.
        match files::read_own(&self.path, MAX_BYTES) {
            Ok(again) if again == text => {}
            Ok(_) => {
                return self.unrecognised(format!(
                    "{why}; another process has changed the file since it was read"
                ));
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

    /// Returns the path of the file with this ending in its name, in the same folder.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }
}

/// Returns whether a text begins with the tokens with which this crate begins a file.
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

/// Returns the time in seconds since 1970; 0 if the clock is before 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
