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
//! The file is written whole beside its place and moved there, under a lock that other processes respect. One that cannot
//! be read is moved aside under a name of its own and never overwritten; one of a newer version is left alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::book::FactBook;
use super::fact::{Environment, Fact};

const FORMAT: &str = "covalent facts";

/// The version that this crate reads and writes.
const VERSION: u32 = 1;

/// A file that is longer was not written by us, in bytes.
const LONGEST: u64 = 8 << 20;

/// The file of facts.
#[derive(Clone, Debug)]
pub struct FactStore {
    path: PathBuf,
}

/// Why facts were not read or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FactError {
    /// No variable says where a cache may be.
    #[error(
        "there is no place to keep facts: neither XDG_CACHE_HOME nor HOME is set to an absolute path"
    )]
    NoPlace,
    /// The file system refused.
    #[error("facts in {path}: {operation} failed: {source}")]
    File {
        /// The file, or its folder.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
    /// Another process has had the lock for seconds.
    #[error("facts in {path}: another process has been writing for {seconds} s; is one stuck?")]
    Locked {
        /// The lock's path.
        path: PathBuf,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The file is of a newer version of this crate.
    #[error(
        "{path} was written by a newer version of Covalent (version {version} of the format, this one reads {VERSION}); it is left as it is, and its facts are not used"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The file is not what was written.
    #[error(
        "{path} is damaged ({why}); it was moved to {aside}, and facts are learnt anew. Delete it when you do not need it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it is now.
        aside: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// What is told before anything else of the file is believed.
#[derive(Deserialize)]
struct Head {
    format: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    format: String,
    version: u32,
    facts: Vec<Fact>,
}

impl FactStore {
    /// Finds the user's own file; it need not be there.
    ///
    /// # Errors
    /// [`FactError::NoPlace`].
    ///
    /// # References
    /// XDG Base Directory Specification: relative paths are to be ignored.
    pub fn of_user() -> Result<Self, FactError> {
        let absolute = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let cache = absolute("XDG_CACHE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".cache")))
            .ok_or(FactError::NoPlace)?;
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
    pub fn text(facts: &[Fact]) -> serde_json::Result<String> {
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
    pub fn book(&self) -> (FactBook, Result<(), FactError>) {
        let mut book = FactBook::well_known(Environment::here(), now());
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
    /// [`FactError::Damaged`], once: the file is elsewhere then. [`FactError::Newer`], [`FactError::File`].
    pub fn read(&self) -> Result<Vec<Fact>, FactError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed("open", error)),
        };
        let mut text = Vec::new();
        file.take(LONGEST.saturating_add(1))
            .read_to_end(&mut text)
            .map_err(|error| self.failed("read", error))?;
        if u64::try_from(text.len()).unwrap_or(u64::MAX) > LONGEST {
            return Err(self.set_aside(format!("it has more than {LONGEST} bytes")));
        }
        let head: Head = match serde_json::from_slice(&text) {
            Ok(head) => head,
            Err(error) => return Err(self.set_aside(error.to_string())),
        };
        if head.format != FORMAT {
            return Err(self.set_aside(format!("its format is {:?}", head.format)));
        }
        if head.version > VERSION {
            return Err(FactError::Newer {
                path: self.path.clone(),
                version: head.version,
            });
        }
        match serde_json::from_slice::<Contents>(&text) {
            Ok(contents) => Ok(contents.facts),
            Err(error) => Err(self.set_aside(error.to_string())),
        }
    }

    /// Changes the facts of the file: reads it, lets `change` add and take away, and writes it, with no other process between.
    ///
    /// Facts that have expired are left out. A damaged file is set aside first, which `change` does not see.
    ///
    /// # Errors
    /// [`FactError::Newer`], [`FactError::Locked`], [`FactError::File`]: the file is as it was.
    pub fn update<T>(&self, change: impl FnOnce(&mut FactBook) -> T) -> Result<T, FactError> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(|error| self.failed("make the folder", error))?;
        let _lock = self.lock()?;
        let mut book = FactBook::empty(Environment::here(), now());
        match self.read() {
            Ok(facts) => facts.into_iter().for_each(|fact| book.add(fact)),
            Err(error @ FactError::Damaged { .. }) => tracing::warn!(%error),
            Err(error) => return Err(error),
        }
        let result = change(&mut book);
        let kept: Vec<Fact> = book
            .learnt()
            .filter(|fact| fact.expires.is_none_or(|end| book.now() < end))
            .cloned()
            .collect();
        self.write(&kept)?;
        Ok(result)
    }

    fn write(&self, facts: &[Fact]) -> Result<(), FactError> {
        let new = self.beside("new");
        let text =
            Self::text(facts).map_err(|error| self.failed("write", io::Error::other(error)))?;
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        if let Err(error) = written.and_then(|()| fs::rename(&new, &self.path)) {
            let _ = fs::remove_file(&new);
            return Err(self.failed("write", error));
        }
        Ok(())
    }

    /// Waits for the lock: a file of its own, since the facts' own file is replaced at each change.
    fn lock(&self) -> Result<File, FactError> {
        const TRIES: u32 = 100;
        const PAUSE: Duration = Duration::from_millis(50);
        let path = self.beside("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| self.failed("lock", error))?;
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) => thread::sleep(PAUSE),
                Err(error) => return Err(self.failed("lock", error.into())),
            }
        }
        Err(FactError::Locked {
            path,
            seconds: PAUSE.saturating_mul(TRIES).as_secs(),
        })
    }

    /// Moves a file away that cannot be read, so that what was in it can still be looked at.
    fn set_aside(&self, why: String) -> FactError {
        let first = self.beside(&format!("damaged-{}", now()));
        // A second one within the same second must not replace the first.
        let aside = std::iter::once(first.clone())
            .chain((2..100).map(|number| {
                let mut name = first.clone().into_os_string();
                name.push(format!("-{number}"));
                PathBuf::from(name)
            }))
            .find(|path| !path.exists())
            .unwrap_or(first);
        match fs::rename(&self.path, &aside) {
            Ok(()) => FactError::Damaged {
                path: self.path.clone(),
                aside,
                why,
            },
            Err(error) => FactError::File {
                path: self.path.clone(),
                operation: "move the damaged file aside",
                source: error,
            },
        }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }

    fn failed(&self, operation: &'static str, source: io::Error) -> FactError {
        FactError::File {
            path: self.path.clone(),
            operation,
            source,
        }
    }
}

/// The second since 1970 that it is now; 0 for a clock before that.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constraint::{Participant, Role, SourceId};
    use crate::model::DeviceIdentity;
    use crate::prove::{Refusal, Scope};

    fn store() -> (tempfile::TempDir, FactStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FactStore::at(folder.path().join("deep/facts.json"));
        (folder, store)
    }

    fn learn(store: &FactStore, source: &str) {
        let device = DeviceIdentity {
            driver: "vkms".to_owned(),
            location: "vkms".to_owned(),
            node: "/dev/dri/card0".to_owned(),
        };
        let display = Participant::new("vkms", device, Role::Display);
        let refusal = Refusal::of_errno("vkms", "ADDFB2", 22, "no");
        store
            .update(|book| {
                book.learn(
                    &display,
                    &SourceId::new(source),
                    Scope::default(),
                    &refusal,
                    2,
                )
            })
            .unwrap();
    }

    fn beside(store: &FactStore, ending: &str) -> Vec<PathBuf> {
        fs::read_dir(store.path().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.display().to_string().contains(ending))
            .collect()
    }

    #[test]
    fn facts_are_read_back_as_written() {
        let (_folder, store) = store();
        assert_eq!(store.read().unwrap(), []);
        learn(&store, "heap:a");
        learn(&store, "heap:b");
        let facts = store.read().unwrap();
        assert_eq!(facts.len(), 2);
        let (book, read) = store.book();
        read.unwrap();
        assert_eq!(book.learnt().cloned().collect::<Vec<_>>(), facts);
        assert!(facts.iter().all(|fact| book.is_in_force(fact)));
        store.update(|book| book.forget(|_| true)).unwrap();
        assert_eq!(store.read().unwrap(), []);
        assert_eq!(beside(&store, ".new"), [] as [PathBuf; 0]);
    }

    #[test]
    fn file_that_is_damaged_is_set_aside_and_kept() {
        let (_folder, store) = store();
        learn(&store, "heap:a");
        let good = fs::read(store.path()).unwrap();
        for damaged in [
            good[..good.len() / 2].to_vec(),
            Vec::new(),
            b"\0\xff\xfe".to_vec(),
            b"{\"format\":\"other\",\"version\":1,\"facts\":[]}".to_vec(),
            b"{\"format\":\"covalent facts\",\"version\":1,\"facts\":[{}]}".to_vec(),
        ] {
            fs::write(store.path(), &damaged).unwrap();
            let Err(FactError::Damaged { aside, .. }) = store.read() else {
                panic!("it was read")
            };
            assert_eq!(fs::read(&aside).unwrap(), damaged);
            // From then on there is no file, and learning makes one.
            assert_eq!(store.read().unwrap(), []);
        }
        assert_eq!(beside(&store, "damaged").len(), 5);
        learn(&store, "heap:b");
        assert_eq!(store.read().unwrap().len(), 1);
    }

    #[test]
    fn file_of_a_newer_version_is_left_as_it_is() {
        let (_folder, store) = store();
        learn(&store, "heap:a");
        let newer = b"{\"format\":\"covalent facts\",\"version\":2,\"facts\":{\"by\":\"name\"}}";
        fs::write(store.path(), newer).unwrap();
        assert!(matches!(
            store.read(),
            Err(FactError::Newer { version: 2, .. })
        ));
        let (book, read) = store.book();
        assert!(read.is_err() && !book.facts().is_empty());
        assert!(matches!(store.update(|_| ()), Err(FactError::Newer { .. })));
        assert_eq!(fs::read(store.path()).unwrap(), newer);
    }

    #[test]
    fn folder_that_cannot_be_made_is_named() {
        let (folder, _) = store();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let store = FactStore::at(file.join("facts.json"));
        let error = store.update(|_| ()).unwrap_err().to_string();
        assert!(error.contains("facts.json"), "{error}");
    }

    #[test]
    fn facts_of_many_writers_are_all_kept() {
        let (_folder, store) = store();
        thread::scope(|scope| {
            for number in 0..8 {
                let store = &store;
                scope.spawn(move || learn(store, &format!("heap:{number}")));
            }
        });
        assert_eq!(store.read().unwrap().len(), 8);
    }

    #[test]
    fn documented_format_is_the_one_that_is_read() {
        let text = include_str!("store.rs");
        let example: String = text
            .lines()
            .skip_while(|line| !line.contains("```json"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//! ").trim_start_matches("//!"))
            .collect();
        let contents: Contents = serde_json::from_str(&example).unwrap();
        assert_eq!(contents.facts.len(), 1);
        assert_eq!(
            contents.facts[0].to_string(),
            "virtio_gpu at virtio0 (display) refuses memory of heap:system in XR24 LINEAR at every size (PRIME_FD_TO_HANDLE: No such device (os error 19)); seen 2 times here"
        );
    }
}
