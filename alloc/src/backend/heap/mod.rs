//! dma-heaps: memory that belongs to no device, selected by name.
//!
//! No ioctl reports the properties of a heap, so its name decides: `system` allocates pages, the CMA heaps allocate contiguous
//! memory from a reserved region (the default one, or one with the heap's name), and the protected heaps allocate memory that the
//! CPU cannot access. A heap with another name has no guarantees.

mod backend;
mod kind;
mod sys;

pub use backend::Heaps;
pub use kind::HeapKind;

use crate::SystemError;
use crate::text::printable_path;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use super::meminfo;
use crate::buffer::Buffer;
use crate::constraint::{AddressWindow, Guarantees, MemoryCost, Source, SourceId};
use crate::solve::Plan;

/// The directory of the heaps.
const FOLDER: &str = "/dev/dma_heap";

/// Why a heap operation failed.
#[derive(Error)]
#[non_exhaustive]
pub enum HeapError {
    /// The device node cannot be opened.
    #[error("{heap} cannot be opened: {source}{}", open_remedy(*source), heap = printable_path(heap))]
    Open {
        /// The device node.
        heap: PathBuf,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The plan names another source.
    #[error("{heap}: the plan is for {planned}, which has to allocate it", heap = printable_path(heap))]
    NotPlanned {
        /// The device node.
        heap: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// The allocation would exceed the available memory, and the kernel would kill processes to free some.
    #[error(
        "{heap}: {needed_bytes} bytes are needed, and only {available_bytes} are available without harm to other programs; nothing was allocated", heap = printable_path(heap))]
    Budget {
        /// The device node.
        heap: PathBuf,
        /// The size of all buffers.
        needed_bytes: u64,
        /// The available size.
        available_bytes: u64,
    },
    /// The allocation failed.
    #[error("{heap}: DMA_HEAP_IOCTL_ALLOC of {bytes} bytes failed: {source}", heap = printable_path(heap))]
    Allocate {
        /// The device node.
        heap: PathBuf,
        /// The requested size.
        bytes: u64,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The allocated dma-buf cannot be used for the plan.
    #[error("{heap}: the allocated buffer cannot be used: {why}", heap = printable_path(heap))]
    Unusable {
        /// The device node.
        heap: PathBuf,
        /// The reason.
        why: String,
    },
}

crate::debug_as_display!(HeapError);

fn open_remedy(error: SystemError) -> &'static str {
    match error.errno() {
        Errno::ACCESS | Errno::PERM => {
            "; most distributions reserve heaps for root, because their memory is not accounted: add a udev rule that gives the subsystem `dma_heap` to a group"
        }
        Errno::NOENT => "; `ls /dev/dma_heap` lists the heaps",
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
    /// Lists the device nodes of all heaps, sorted by name; empty if the kernel has no heaps.
    ///
    /// # Errors
    /// The error of the kernel, except for a missing directory.
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
                source: source.into(),
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

    /// Returns the name of the heap.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the kind of the heap, by its name.
    #[must_use]
    pub fn kind(&self) -> HeapKind {
        HeapKind::of(&self.name)
    }

    /// Declares the heap as a memory source, with its guarantees.
    #[must_use]
    pub fn source(&self) -> Source {
        let mut source = Source::new(self.id(), self.source_name());
        source.guarantees = self.guarantees();
        source
    }

    /// Allocates the buffers of a plan.
    ///
    /// # Errors
    /// [`HeapError`]. After an error nothing stays allocated.
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
        if let Some(available_bytes) = self.available_if_insufficient(needed_bytes) {
            return Err(HeapError::Budget {
                heap: self.path.clone(),
                needed_bytes,
                available_bytes,
            });
        }
        (0..plan.count())
            .map(|_| {
                let dmabufs = layout
                    .memory_sizes()
                    .iter()
                    .map(|bytes| self.allocate_memory(whole_pages(*bytes)))
                    .collect::<Result<Vec<_>, _>>()?;
                Buffer::assemble(layout, dmabufs, &self.source_name()).map_err(|error| {
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
            source: source.into(),
        })
    }

    fn id(&self) -> SourceId {
        SourceId::new(format!("heap:{}", self.name))
    }

    fn source_name(&self) -> String {
        format!("dma-heap {}", self.name)
    }

    /// Returns the available bytes if they are fewer than `needed_bytes`. The other guarantees are not determined, because that
    /// takes longer than the allocation.
    fn available_if_insufficient(&self, needed_bytes: u64) -> Option<u64> {
        match &self.region {
            Some(region) => region
                .free_bytes()
                .filter(|available| needed_bytes > *available),
            None => meminfo::available_if_insufficient(needed_bytes),
        }
    }

    fn guarantees(&self) -> Guarantees {
        let kind = self.kind();
        if kind == HeapKind::System {
            Guarantees {
                contiguous_up_to_bytes: meminfo::page_bytes(),
                address: meminfo::memory_window(),
                cached: Some(true),
                cost: MemoryCost::System,
                available_bytes: meminfo::available_bytes(),
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
                address: meminfo::memory_window(),
                // The CPU cannot access protected memory, so it is not cached.
                cached: (kind == HeapKind::Protected).then_some(false),
                cost: MemoryCost::Reserved,
                available_bytes: meminfo::available_bytes(),
                ..Guarantees::default()
            }
        }
    }
}

/// A CMA region. It does not change while the machine runs.
#[derive(Debug)]
struct Region {
    window: AddressWindow,
    bytes: Option<u64>,
    free_memory: FreeMemorySource,
}

/// Where the kernel reports the free memory of a region.
#[derive(Debug)]
enum FreeMemorySource {
    /// A directory of debugfs, which only root may read and few kernels have.
    Debugfs(PathBuf),
    /// A directory of sysfs, which does not contain the address.
    Sysfs(PathBuf),
    /// `/proc/meminfo`, which has the sum of all regions.
    Meminfo,
}

impl Region {
    /// Finds the CMA region of a heap; `None` if the heap has none, or it is not known.
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
        // Without debugfs the address of the region is not known.
        found("/sys/kernel/debug/cma", Self::from_debugfs)
            .or_else(|| found("/sys/kernel/mm/cma", Self::from_sysfs))
            .or_else(|| {
                is_default.then(|| Self {
                    window: meminfo::memory_window(),
                    bytes: None,
                    free_memory: FreeMemorySource::Meminfo,
                })
            })
    }

    /// Reads the region from sysfs. A heap with the name of a CMA region allocates from it: `cma_heap` uses that name.
    ///
    /// # References
    /// Linux 7.3, `Documentation/ABI/testing/sysfs-kernel-mm-cma`.
    fn from_sysfs(folder: PathBuf) -> Option<Self> {
        let pages = meminfo::read_number(folder.join("total_pages"))?;
        meminfo::read_number(folder.join("available_pages"))?;
        Some(Self {
            window: meminfo::memory_window(),
            bytes: Some(pages.checked_mul(meminfo::page_bytes())?),
            free_memory: FreeMemorySource::Sysfs(folder),
        })
    }

    fn from_debugfs(folder: PathBuf) -> Option<Self> {
        let page = meminfo::page_bytes();
        let bytes = meminfo::read_number(folder.join("count"))?.checked_mul(page)?;
        meminfo::read_number(folder.join("used"))?;
        // Since Linux 6.15 a region can have several ranges, each in its own directory.
        let base = meminfo::read_number(folder.join("base_pfn"))
            .or_else(|| meminfo::read_number(folder.join("ranges/0/base_pfn")))?;
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
            free_memory: FreeMemorySource::Debugfs(folder),
        })
    }

    /// Returns the free bytes; `None` if the kernel does not report them.
    fn free_bytes(&self) -> Option<u64> {
        match &self.free_memory {
            FreeMemorySource::Debugfs(folder) => {
                let used = meminfo::read_number(folder.join("used"))?;
                self.bytes?
                    .checked_sub(used.checked_mul(meminfo::page_bytes())?)
            }
            FreeMemorySource::Sysfs(folder) => {
                meminfo::read_number(folder.join("available_pages"))?
                    .checked_mul(meminfo::page_bytes())
            }
            FreeMemorySource::Meminfo => meminfo::cma_free_bytes(),
        }
    }
}

fn whole_pages(bytes: u64) -> u64 {
    bytes
        .checked_next_multiple_of(meminfo::page_bytes())
        .unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_in_sysfs_has_its_size_and_its_free_memory() {
        let folder = tempfile::tempdir().unwrap();
        let of = || Region::from_sysfs(folder.path().to_owned());
        // Before Linux 6.11 the directory exists and only counts allocations.
        fs::write(folder.path().join("alloc_pages_success"), "3\n").unwrap();
        assert!(of().is_none());
        fs::write(folder.path().join("total_pages"), "16384\n").unwrap();
        fs::write(folder.path().join("available_pages"), "16000\n").unwrap();
        let region = of().unwrap();
        assert_eq!(region.bytes, Some(16384 * meminfo::page_bytes()));
        assert_eq!(region.free_bytes(), Some(16000 * meminfo::page_bytes()));
    }
}
