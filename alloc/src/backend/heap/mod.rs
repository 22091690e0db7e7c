//! dma-heaps: memory of no device, by name.
//!
//! No ioctl tells what a heap is, so its name has to: `system` gives pages, the CMA heaps one piece of a region that was
//! set aside (the default one, or one that the kernel lists by the heap's name), and the protected heaps memory that the
//! processor does not reach. Of a heap with another name nothing is promised.

mod backend;
mod kind;
mod sys;

pub use backend::Heaps;
pub use kind::HeapKind;

use crate::text::printable_path;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use super::machine;
use crate::buffer::Buffer;
use crate::constraint::{AddressWindow, Guarantees, MemoryCost, Source, SourceId};
use crate::solve::Plan;

/// Where the heaps are.
const FOLDER: &str = "/dev/dma_heap";

/// Why a heap did not give memory.
#[derive(Error)]
#[non_exhaustive]
pub enum HeapError {
    /// The node cannot be opened.
    #[error("{heap} cannot be opened: {source}{}", open_remedy(*source), heap = printable_path(heap))]
    Open {
        /// The node.
        heap: PathBuf,
        /// What the kernel answered.
        source: Errno,
    },
    /// The plan names another source.
    #[error("{heap}: the plan is for {planned}, which has to allocate it", heap = printable_path(heap))]
    NotPlanned {
        /// The node.
        heap: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// More than the machine can give: the kernel would kill other processes to find it.
    #[error(
        "{heap} was not asked for {needed_bytes} bytes: only {available_bytes} can be taken without harm to others", heap = printable_path(heap))]
    Budget {
        /// The node.
        heap: PathBuf,
        /// What all buffers need.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
    },
    /// The kernel refused.
    #[error("{heap} did not give {bytes} bytes: {source}", heap = printable_path(heap))]
    Allocate {
        /// The node.
        heap: PathBuf,
        /// What was asked for.
        bytes: u64,
        /// What the kernel answered.
        source: Errno,
    },
    /// What the heap gave is no usable dma-buf.
    #[error("{heap}: what was allocated is unusable: {why}", heap = printable_path(heap))]
    Unusable {
        /// The node.
        heap: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

crate::debug_as_display!(HeapError);

fn open_remedy(error: Errno) -> &'static str {
    match error {
        Errno::ACCESS | Errno::PERM => {
            "; heaps are root's on most distributions, since their memory is not accounted: a udev rule for the subsystem `dma_heap` gives them to a group"
        }
        Errno::NOENT => "; `ls /dev/dma_heap` lists the heaps that are there",
        _ => "",
    }
}

/// An open heap.
#[derive(Debug)]
pub struct Heap {
    fd: OwnedFd,
    path: PathBuf,
    name: String,
    region: Option<Region>,
}

impl Heap {
    /// Lists the nodes of all heaps, by name; none where the kernel has no heaps.
    ///
    /// # Errors
    /// What the kernel answered, other than that there is no such folder.
    pub fn list() -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(FOLDER) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        Ok(paths)
    }

    /// Opens a heap.
    ///
    /// # Errors
    /// [`HeapError::Open`].
    pub fn open(path: &Path) -> Result<Self, HeapError> {
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(
            |source| HeapError::Open {
                heap: path.to_owned(),
                source,
            },
        )?;
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Ok(Self {
            fd,
            path: path.to_owned(),
            region: Region::of(&name),
            name,
        })
    }

    /// The heap's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What kind of heap its name says that it is.
    #[must_use]
    pub fn kind(&self) -> HeapKind {
        HeapKind::of(&self.name)
    }

    /// Declares what the heap gives and promises.
    #[must_use]
    pub fn source(&self) -> Source {
        let mut source = Source::new(self.id(), self.source_name());
        source.guarantees = self.guarantees();
        source
    }

    /// Allocates the buffers of a plan.
    ///
    /// # Errors
    /// [`HeapError`]. Nothing stays allocated then.
    ///
    /// # References
    /// `linux/dma-heap.h`; kernel documentation, "Allocating dma-buf using heaps".
    pub fn allocate(&self, plan: &Plan) -> Result<Vec<Buffer>, HeapError> {
        if *plan.source() != self.id() {
            return Err(HeapError::NotPlanned {
                heap: self.path.clone(),
                planned: plan.source_name().to_owned(),
            });
        }
        let layout = plan.layout();
        let needed_bytes = layout
            .memory_sizes()
            .iter()
            .map(|bytes| whole_pages(*bytes))
            .fold(0, u64::saturating_add)
            .saturating_mul(u64::from(plan.count()));
        if let Some(available_bytes) = self.fewer_available_than(needed_bytes) {
            return Err(HeapError::Budget {
                heap: self.path.clone(),
                needed_bytes,
                available_bytes,
            });
        }
        (0..plan.count())
            .map(|_| {
                let memories = layout
                    .memory_sizes()
                    .iter()
                    .map(|bytes| self.allocate_memory(whole_pages(*bytes)))
                    .collect::<Result<Vec<_>, _>>()?;
                Buffer::assemble(layout, memories, &self.source_name()).map_err(|error| {
                    HeapError::Unusable {
                        heap: self.path.clone(),
                        why: error.to_string(),
                    }
                })
            })
            .collect()
    }

    fn allocate_memory(&self, bytes: u64) -> Result<OwnedFd, HeapError> {
        sys::allocate(self.fd.as_fd(), bytes).map_err(|source| HeapError::Allocate {
            heap: self.path.clone(),
            bytes,
            source,
        })
    }

    fn id(&self) -> SourceId {
        SourceId::new(format!("heap:{}", self.name))
    }

    fn source_name(&self) -> String {
        format!("dma-heap {}", self.name)
    }

    /// What can be taken where that is less than `needed_bytes`: all else that is promised costs more to find out than the
    /// allocation.
    fn fewer_available_than(&self, needed_bytes: u64) -> Option<u64> {
        match &self.region {
            Some(region) => region
                .free_bytes()
                .filter(|available| needed_bytes > *available),
            None => machine::fewer_available_than(needed_bytes),
        }
    }

    fn guarantees(&self) -> Guarantees {
        let kind = self.kind();
        if kind == HeapKind::System {
            Guarantees {
                contiguous_up_to_bytes: machine::page_bytes(),
                address: machine::memory_window(),
                cached: Some(true),
                cost: MemoryCost::System,
                available_bytes: machine::available_bytes(),
                ..Guarantees::default()
            }
        } else if let Some(region) = &self.region {
            Guarantees {
                contiguous_up_to_bytes: region.bytes.unwrap_or(u64::MAX),
                address: region.window,
                cached: Some(true),
                cost: MemoryCost::Reserved,
                maximum_bytes: region.bytes,
                available_bytes: region.free_bytes(),
                ..Guarantees::default()
            }
        } else {
            Guarantees {
                address: machine::memory_window(),
                // What the processor must not read is in no cache of its.
                cached: (kind == HeapKind::Protected).then_some(false),
                cost: MemoryCost::Reserved,
                available_bytes: machine::available_bytes(),
                ..Guarantees::default()
            }
        }
    }
}

/// A CMA region, which stays where it is while the machine runs.
#[derive(Debug)]
struct Region {
    window: AddressWindow,
    bytes: Option<u64>,
    tells: Tells,
}

/// Where the kernel tells how much of a region is free.
#[derive(Debug)]
enum Tells {
    /// A folder of debugfs, which only root reads and few kernels have.
    Debugfs(PathBuf),
    /// A folder of sysfs, which tells no address.
    Sysfs(PathBuf),
    /// `/proc/meminfo`, for all regions together.
    Meminfo,
}

impl Region {
    /// Finds the region behind a heap's name; `None` for a heap that is known to be none, or not known at all.
    fn of(heap: &str) -> Option<Self> {
        let kind = HeapKind::of(heap);
        if kind == HeapKind::System {
            return None;
        }
        let is_default = kind == HeapKind::DefaultCma;
        let aliases = kind::DEFAULT_CMA.into_iter().filter(|_| is_default);
        let names: Vec<&str> = std::iter::once(heap).chain(aliases).collect();
        let found = |folder: &str, read: fn(PathBuf) -> Option<Self>| {
            let mut folders = names.iter().map(|name| Path::new(folder).join(name));
            folders.find_map(read)
        };
        // Without debugfs the region lies somewhere in memory.
        found("/sys/kernel/debug/cma", Self::from_debugfs)
            .or_else(|| found("/sys/kernel/mm/cma", Self::from_sysfs))
            .or_else(|| {
                is_default.then(|| Self {
                    window: machine::memory_window(),
                    bytes: None,
                    tells: Tells::Meminfo,
                })
            })
    }

    /// A heap with the name of a CMA region is that region's: `cma_heap` names it so.
    ///
    /// # References
    /// Linux 7.3, `Documentation/ABI/testing/sysfs-kernel-mm-cma`.
    fn from_sysfs(folder: PathBuf) -> Option<Self> {
        let pages = machine::number(folder.join("total_pages"))?;
        machine::number(folder.join("available_pages"))?;
        Some(Self {
            window: machine::memory_window(),
            bytes: Some(pages.checked_mul(machine::page_bytes())?),
            tells: Tells::Sysfs(folder),
        })
    }

    fn from_debugfs(folder: PathBuf) -> Option<Self> {
        let page = machine::page_bytes();
        let bytes = machine::number(folder.join("count"))?.checked_mul(page)?;
        machine::number(folder.join("used"))?;
        // Kernels from 6.15 on give a region several ranges, each in a folder of its own.
        let base = machine::number(folder.join("base_pfn"))
            .or_else(|| machine::number(folder.join("ranges/0/base_pfn")))?;
        let lowest = base.checked_mul(page)?;
        if folder.join("ranges/1").exists() {
            return None;
        }
        Some(Self {
            window: AddressWindow {
                lowest,
                highest: lowest.checked_add(bytes)?.checked_sub(1)?,
            },
            bytes: Some(bytes),
            tells: Tells::Debugfs(folder),
        })
    }

    /// What nobody has taken; `None` where nothing tells.
    fn free_bytes(&self) -> Option<u64> {
        match &self.tells {
            Tells::Debugfs(folder) => {
                let used = machine::number(folder.join("used"))?;
                self.bytes?
                    .checked_sub(used.checked_mul(machine::page_bytes())?)
            }
            Tells::Sysfs(folder) => {
                machine::number(folder.join("available_pages"))?.checked_mul(machine::page_bytes())
            }
            Tells::Meminfo => machine::cma_free_bytes(),
        }
    }
}

fn whole_pages(bytes: u64) -> u64 {
    bytes
        .checked_next_multiple_of(machine::page_bytes())
        .unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_that_sysfs_lists_has_its_own_size_and_what_is_free_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let of = || Region::from_sysfs(folder.path().to_owned());
        // Kernels before 6.11 have the folder, and only count in it what was taken.
        fs::write(folder.path().join("alloc_pages_success"), "3\n").unwrap();
        assert!(of().is_none());
        fs::write(folder.path().join("total_pages"), "16384\n").unwrap();
        fs::write(folder.path().join("available_pages"), "16000\n").unwrap();
        let region = of().unwrap();
        assert_eq!(region.bytes, Some(16384 * machine::page_bytes()));
        assert_eq!(region.free_bytes(), Some(16000 * machine::page_bytes()));
    }
}
