//! dma-heaps: memory that belongs to no device, selected by name.
//!
//! No ioctl reports the properties of a heap, so they are derived from its name: `system` allocates pages, the CMA heaps allocate
//! contiguous memory from a reserved region (the default region, or the region with the heap's name), and the protected heaps
//! allocate memory that the CPU cannot access. Vendors' names such as `system-dma32`, `cma-uncached` and `restricted_mtk_cma` are
//! known too ([`HeapKind`]). For a heap with another name no properties are guaranteed, and a plan that uses it has a caveat.

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

use super::cma::{self, Region};
use super::meminfo;
use crate::buffer::Buffer;
use crate::constraint::{Guarantees, MemoryCost, Pool, Source, SourceId};
use crate::model::Layout;
use crate::solve::Plan;

/// The directory of the heaps' device nodes.
const FOLDER: &str = "/dev/dma_heap";

/// Why a heap operation failed.
#[derive(Error)]
#[non_exhaustive]
pub enum HeapError {
    /// The device node cannot be opened.
    #[error("{heap} cannot be opened: {source}{}", open_remedy(*source), heap = printable_path(heap))]
    Open {
        /// The device node of the heap.
        heap: PathBuf,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The plan is for another source than this heap.
    #[error("{heap} cannot allocate this plan, which is for the source {planned}; allocate from that source", heap = printable_path(heap))]
    NotPlanned {
        /// The device node of the heap.
        heap: PathBuf,
        /// The source that the plan names.
        planned: String,
    },
    /// The allocation would exceed the available memory, and the kernel would kill processes to free some.
    #[error(
        "{heap}: {needed_bytes} bytes are needed, and only {available_bytes} are available without harm to other programs; nothing was allocated", heap = printable_path(heap))]
    Budget {
        /// The device node of the heap.
        heap: PathBuf,
        /// The size of all buffers of the plan, in bytes.
        needed_bytes: u64,
        /// The available memory, in bytes.
        available_bytes: u64,
    },
    /// The heap's CMA region has too little free memory for all buffers.
    #[error(
        "{heap}: {fitting} of {count} buffers fit in {pool}: each takes {buffer_bytes} bytes, and {free_bytes} are free now; nothing was allocated. Free buffers of other programs, or give the region more memory, as with cma= on the kernel's command line", heap = printable_path(heap))]
    Pool {
        /// The device node of the heap.
        heap: PathBuf,
        /// The region's name.
        pool: String,
        /// The number of buffers that fit.
        fitting: u64,
        /// The number of buffers of the plan.
        count: u32,
        /// The bytes of the region that one buffer takes, rounded up to whole pages and including the alignment.
        buffer_bytes: u64,
        /// The free bytes of the region.
        free_bytes: u64,
    },
    /// The allocation failed.
    #[error("{heap}: DMA_HEAP_IOCTL_ALLOC of {bytes} bytes failed: {source}", heap = printable_path(heap))]
    Allocate {
        /// The device node of the heap.
        heap: PathBuf,
        /// The requested size in bytes.
        bytes: u64,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The allocated dma-buf cannot be used for the plan.
    #[error("{heap}: the allocated buffer cannot be used: {why}", heap = printable_path(heap))]
    Unusable {
        /// The device node of the heap.
        heap: PathBuf,
        /// Why the dma-buf cannot be used.
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
            region: matches!(
                HeapKind::of(&name),
                HeapKind::DefaultCma | HeapKind::Contiguous { .. } | HeapKind::Other
            )
            .then(|| Region::of(&name))
            .flatten(),
            name,
        })
    }

    /// Returns the name of the heap.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the kind of the heap, which follows from its name.
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
        if let Some(free_bytes) = self.region.as_ref().and_then(Region::free_bytes) {
            self.check_region(plan, free_bytes)?;
        } else if self.region.is_none() {
            if let Some(available_bytes) = meminfo::available_if_insufficient(needed_bytes) {
                return Err(HeapError::Budget {
                    heap: self.path.clone(),
                    needed_bytes,
                    available_bytes,
                });
            }
        }
        let mut buffers = Vec::new();
        for index in 0..plan.count() {
            match self.allocate_buffer(layout) {
                Ok(buffer) => buffers.push(buffer),
                Err(error) => {
                    // The buffers are freed before the free memory of the region is read for the error.
                    drop(buffers);
                    return Err(self.exhausted(error, plan, index));
                }
            }
        }
        Ok(buffers)
    }

    fn allocate_buffer(&self, layout: &Layout) -> Result<Buffer, HeapError> {
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

    /// Checks that all buffers of a plan fit in the free memory of the region.
    fn check_region(&self, plan: &Plan, free_bytes: u64) -> Result<(), HeapError> {
        let buffer_bytes = self.bytes_in_region(plan);
        let fitting = free_bytes.checked_div(buffer_bytes).unwrap_or(u64::MAX);
        // The alignment of the buffers is not counted here: the kernel chooses the alignment, so buffers may fit that would not
        // fit with the full alignment.
        let needed = plan
            .layout()
            .memory_sizes()
            .iter()
            .map(|bytes| whole_pages(*bytes))
            .fold(0, u64::saturating_add)
            .saturating_mul(plan.count().into());
        if needed <= free_bytes {
            return Ok(());
        }
        Err(self.region_exhausted(plan, fitting, buffer_bytes, free_bytes))
    }

    /// Returns how many bytes of the region one buffer of a plan takes, including the alignment.
    fn bytes_in_region(&self, plan: &Plan) -> u64 {
        let mut pool = Pool::cma(cma::pool_id(&self.name), self.name.as_str(), None);
        pool.unit_bytes = meminfo::page_bytes();
        let sizes = plan.layout().memory_sizes().iter();
        sizes
            .map(|bytes| pool.whole_units(*bytes))
            .fold(0, u64::saturating_add)
    }

    /// Returns [`HeapError::Pool`] if the heap returned ENOMEM for the buffer with this index; otherwise returns `error`. The
    /// buffers with lower indices are freed already, so the free memory of the region includes their memory.
    fn exhausted(&self, error: HeapError, plan: &Plan, index: u32) -> HeapError {
        let free_bytes = self.region.as_ref().and_then(Region::free_bytes);
        match (&error, free_bytes) {
            (HeapError::Allocate { source, .. }, Some(free_bytes))
                if source.errno() == Errno::NOMEM =>
            {
                self.region_exhausted(plan, index.into(), self.bytes_in_region(plan), free_bytes)
            }
            _ => error,
        }
    }

    fn region_exhausted(
        &self,
        plan: &Plan,
        fitting: u64,
        buffer_bytes: u64,
        free_bytes: u64,
    ) -> HeapError {
        HeapError::Pool {
            heap: self.path.clone(),
            pool: self.name.clone(),
            fitting,
            count: plan.count(),
            buffer_bytes,
            free_bytes,
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
                pools: [cma::pool_id(&self.name)].into(),
                ..Guarantees::default()
            }
        } else {
            self.guarantees_without_region(kind)
        }
    }

    /// Returns the guarantees that follow from the heap's name alone, for a heap whose CMA region is not known.
    fn guarantees_without_region(&self, kind: HeapKind) -> Guarantees {
        let mut address = meminfo::memory_window();
        let mut guarantees = Guarantees {
            cost: MemoryCost::Reserved,
            available_bytes: meminfo::available_bytes(),
            ..Guarantees::default()
        };
        match kind {
            HeapKind::Pages {
                is_below_4_gib,
                is_cached,
            } => {
                if is_below_4_gib {
                    address.highest = address.highest.min(u32::MAX.into());
                }
                guarantees.contiguous_up_to_bytes = meminfo::page_bytes();
                guarantees.cached = is_cached;
                guarantees.cost = MemoryCost::System;
            }
            HeapKind::Contiguous { is_uncached } => {
                guarantees.contiguous_up_to_bytes = u64::MAX;
                guarantees.cached = Some(!is_uncached);
            }
            HeapKind::Protected => {
                // The CPU cannot access protected memory, so the memory is declared as not cached.
                guarantees.cached = Some(false);
                guarantees.unmappable = true;
                guarantees.protected = true;
            }
            HeapKind::System | HeapKind::DefaultCma | HeapKind::Other => {
                guarantees.is_unknown = true;
            }
        }
        guarantees.address = address;
        guarantees
    }
}

fn whole_pages(bytes: u64) -> u64 {
    bytes
        .checked_next_multiple_of(meminfo::page_bytes())
        .unwrap_or(bytes)
}
