//! The file in which facts are kept: `$XDG_CACHE_HOME/covalent/facts.json`.
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
//! A participant's `interface` (`kernel`, `gbm` or `vulkan`) tells apart who imports through one device by PRIME, GBM and Vulkan.
//!
//! What a participant, a scope or the conditions leave out, or say is null, does not matter. Times are seconds since 1970.
//!
//! # What is read
//! A regular file of the user's own or of root's, opened without blocking; root reads no others, such as those of the user whose
//! `HOME` it was given. Reading changes nothing and needs no right to write. A file that is empty has no facts.
//!
//! # What is written
//! The file is written whole beside its place and moved there, under a lock that other processes respect. Folders are made for
//! their owner alone (mode 0700). Nothing is written into a folder of another user, through a link, or over anything but a
//! regular file of this user that was read as facts before.
//!
//! # What is done with a file that cannot be read
//! | the file | is |
//! | --- | --- |
//! | begins as this crate writes it, and is cut off or altered | moved aside under a name that nothing has, and kept; facts are learnt anew |
//! | of a newer version, or with a field or a value that a newer version may know | left as it is |
//! | anything else: another format, a picture, a FIFO, a device node, a link that leads to one, another user's | left as it is |
//!
//! What is left as it is stays so until a person moves it: no facts are read from it, none are written over it, and each error says so.
//!
//! # Bounds
//! A file has at most 8 MiB; of facts that need more the oldest are not kept. Reading takes at most 64 times the file's length of
//! memory, time that grows with its length, and 128 levels of depth at the most.

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
use super::place;
use crate::files::{self, FileError};

pub use user::{keep_facts, known_facts};

mod user;
use crate::text::{Printable, printable_path};

const FORMAT: &str = "covalent facts";

/// The version that this crate reads and writes.
const VERSION: u32 = 1;

/// A file that is longer was not written by us, in bytes.
const LONGEST: usize = 8 << 20;

/// How a file begins that this crate has written, but for white space.
const BEGINNING: [&str; 4] = ["{", "\"format\"", ":", "\"covalent facts\""];

/// The file of facts.
#[derive(Clone, Debug)]
pub struct TrialResultStore {
    path: PathBuf,
}

/// Why facts were not read or kept.
#[derive(Error)]
#[non_exhaustive]
pub enum TrialResultError {
    /// No variable says where a cache may be.
    #[error(
        "there is no place to keep facts: neither XDG_CACHE_HOME nor HOME is set to an absolute path"
    )]
    NoPlace,
    /// What is there is not to be read or written, or the kernel refused; nothing was changed.
    #[error("facts: {0}")]
    File(#[from] FileError),
    /// The facts cannot be written as JSON.
    #[error("facts in {}: they cannot be written: {source}", printable_path(path))]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// Another process has had the lock for seconds.
    #[error(
        "facts in {}: another process has been writing for {seconds} s; is one stuck?",
        printable_path(path)
    )]
    Locked {
        /// The lock's path.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The kernel does not lock.
    #[error("facts: cannot lock {}: {source}", printable_path(path))]
    Lock {
        /// The lock's path.
        path: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The file is of a newer version of this crate.
    #[error(
        "{} was written by a newer version of Covalent (version {version} of the format, this one reads {VERSION}); it is left as it is, and its facts are not used",
        printable_path(path)
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The file has what this version of the crate does not know, or was never a file of facts.
    #[error(
        "{} is not read as facts ({}); it is left as it is, and no facts are kept until it is moved or another path is named",
        printable_path(path),
        Printable(why)
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
    /// The file is not what was written.
    #[error(
        "{} is damaged ({}); it was moved to {}, and facts are learnt anew. Delete it when you do not need it",
        printable_path(path),
        Printable(why),
        printable_path(aside)
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it, and where.
        why: String,
    },
}

crate::debug_as_display!(TrialResultError);

/// What is told before anything else of the file is believed.
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
    facts: Vec<TrialResult>,
}

impl TrialResultStore {
    /// Finds the user's own file; it need not be there.
    ///
    /// # Errors
    /// [`TrialResultError::NoPlace`].
    ///
    /// # References
    /// XDG Base Directory Specification: relative paths are to be ignored.
    pub fn of_user() -> Result<Self, TrialResultError> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let cache = absolute("XDG_CACHE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".cache")))
            .ok_or(TrialResultError::NoPlace)?;
        Ok(Self::at(cache.join("covalent/facts.json")))
    }

    /// Takes a file by its path.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// The second since 1970 that it is now; 0 for a clock before that.
    #[must_use]
    pub fn now() -> u64 {
        now()
    }

    /// Returns facts as the text of such a file.
    ///
    /// # Errors
    /// Never, unless a fact holds what JSON cannot say.
    pub fn text(facts: &[TrialResult]) -> serde_json::Result<String> {
        let contents = Contents {
            format: FORMAT.to_owned(),
            version: VERSION,
            facts: facts.to_vec(),
        };
        Ok(serde_json::to_string_pretty(&contents)? + "\n")
    }

    /// Where the file is, or will be.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a book for this machine and moment: the facts that ship, and those of the file.
    ///
    /// The book is of use whatever the error is; it then has those that ship.
    pub fn book(&self) -> (TrialResults, Result<(), TrialResultError>) {
        let mut book = TrialResults::with_quirks(environment(), now());
        match self.read() {
            Ok(facts) => {
                facts.into_iter().for_each(|fact| book.add(fact));
                (book, Ok(()))
            }
            Err(error) => (book, Err(error)),
        }
    }

    /// Reads the facts; none where there is no file.
    ///
    /// # Errors
    /// [`TrialResultError::Damaged`], once: the file is elsewhere then. [`TrialResultError::Newer`], [`TrialResultError::Foreign`] and
    /// [`TrialResultError::File`]: it is as it was.
    pub fn read(&self) -> Result<Vec<TrialResult>, TrialResultError> {
        let text = match files::read_own(&self.path, LONGEST) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(Vec::new());
        }
        let head: Head = match serde_json::from_slice(&text) {
            Ok(head) => head,
            Err(error) => return Err(self.unreadable(&text, &error)),
        };
        if head.format != FORMAT {
            return Err(self.foreign(format!("its format is {:?}", head.format)));
        }
        if head.version > u64::from(VERSION) {
            return Err(TrialResultError::Newer {
                path: self.path.clone(),
                version: u32::try_from(head.version).unwrap_or(u32::MAX),
            });
        }
        if head.version == 0 {
            return Err(self.foreign("it has version 0, and the first is 1".to_owned()));
        }
        match serde_json::from_slice::<Contents>(&text) {
            Ok(contents) => Ok(contents.facts),
            Err(error) => Err(self.unreadable(&text, &error)),
        }
    }

    /// Says what is wrong with a text, after moving it aside where it is surely ours and no newer version's.
    fn unreadable(&self, text: &[u8], error: &serde_json::Error) -> TrialResultError {
        let words = error.to_string();
        let why = match place::of(text, error) {
            path if path.is_empty() => words.clone(),
            path => format!("{path}: {words}"),
        };
        // Serde has no kind for what a newer version may know: its words begin so.
        let is_newer = error.classify() == Category::Data && words.starts_with("unknown ");
        if is_newer || !is_ours(text) {
            self.foreign(why)
        } else {
            self.set_aside(text, why)
        }
    }

    fn foreign(&self, why: String) -> TrialResultError {
        TrialResultError::Foreign {
            path: self.path.clone(),
            why,
        }
    }

    /// Changes the facts of the file: reads it, lets `change` add and take away, and writes it, with no other process between.
    ///
    /// Facts that have expired are left out, and the oldest where there are more than a file may have. A damaged file is set
    /// aside first, which `change` does not see.
    ///
    /// # Errors
    /// [`TrialResultError::Newer`], [`TrialResultError::Foreign`], [`TrialResultError::Locked`], [`TrialResultError::File`]: the file is as it was.
    pub fn update<T>(
        &self,
        change: impl FnOnce(&mut TrialResults) -> T,
    ) -> Result<T, TrialResultError> {
        files::create_private_folder(self.path.parent().unwrap_or(Path::new(".")))?;
        let _lock = self.lock()?;
        let mut book = TrialResults::empty(environment(), now());
        match self.read() {
            Ok(facts) => facts.into_iter().for_each(|fact| book.add(fact)),
            Err(error @ TrialResultError::Damaged { .. }) => tracing::warn!(%error),
            Err(error) => return Err(error),
        }
        let result = change(&mut book);
        let kept: Vec<TrialResult> = book
            .learnt()
            .filter(|fact| fact.expires.is_none_or(|end| book.now() < end))
            .cloned()
            .collect();
        self.write(kept)?;
        Ok(result)
    }

    fn write(&self, mut facts: Vec<TrialResult>) -> Result<(), TrialResultError> {
        let text = loop {
            let text = Self::text(&facts).map_err(|source| TrialResultError::Unwritable {
                path: self.path.clone(),
                source,
            })?;
            if text.len() <= LONGEST || facts.is_empty() {
                break text;
            }
            // A longer file would not be read again: the oldest half is seen anew or was of no use.
            facts.sort_by_key(|fact| match fact.origin {
                Origin::Learnt { at, .. } => at,
                Origin::Quirk { .. } => 0,
            });
            facts.drain(..facts.len().div_ceil(2));
        };
        Ok(files::replace(&self.path, text.as_bytes())?)
    }

    /// Waits for the lock: a file of its own, since the facts' own file is replaced at each change.
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

    /// Moves a file away that was read as `text`, so that what was in it can still be looked at.
    fn set_aside(&self, text: &[u8], why: String) -> TrialResultError {
        let first = self.beside(&format!("damaged-{}", now()));
        // A second one within the same second must not replace the first.
        let names = std::iter::once(first.clone()).chain((2..100).map(move |number| {
            let mut name = first.clone().into_os_string();
            name.push(format!("-{number}"));
            PathBuf::from(name)
        }));
        // Another process may have put a good one there since.
        match files::read_own(&self.path, LONGEST) {
            Ok(again) if again == text => {}
            Ok(_) => return self.foreign(format!("{why}; it has been changed meanwhile")),
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

/// Returns whether a text begins as this crate writes it.
fn is_ours(text: &[u8]) -> bool {
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

/// The second since 1970 that it is now; 0 for a clock before that.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
