//! The CMA regions of this machine: their sizes, their addresses and their free memory.
//!
//! A region is one pool. Its dma-heap allocates from it, and so do the V4L2 queues with vb2-dma-contig and the dumb buffers of
//! cards whose device has no IOMMU and no region of its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::meminfo;
use crate::constraint::{AddressWindow, FreeMemory, Pool, PoolId, Source, SourceKind};

/// The names that the dma-heap of the default CMA region can have. Since Linux 6.17 the heap has the first name. A kernel with
/// CONFIG_DMABUF_HEAPS_CMA_LEGACY has a second heap with one of the other names for the same region.
pub(super) const DEFAULT_NAMES: [&str; 4] = [
    "default_cma_region",
    "linux,cma",
    "reserved",
    "default-pool",
];

/// The prefix of the identifier of a CMA pool; the name of the region follows.
const PREFIX: &str = "cma:";

/// Returns the CMA pools that these sources name and that this machine has, with their sizes and the bytes that are free now.
///
/// If the kernel does not report the size of a region, the pool has no size; a devicetree may state it.
#[must_use]
pub(super) fn pools(sources: &[Source]) -> Vec<Pool> {
    let named: BTreeSet<&PoolId> = sources
        .iter()
        .flat_map(|source| &source.guarantees.pools)
        .collect();
    let cma = |id: &PoolId| Some((id.clone(), id.as_str().strip_prefix(PREFIX)?.to_owned()));
    named
        .into_iter()
        .filter_map(cma)
        .map(|(id, name)| {
            let region = Region::of(&name);
            let bytes = region.as_ref().and_then(Region::capacity_bytes);
            let mut pool = Pool::cma(id, name, bytes);
            pool.unit_bytes = meminfo::page_bytes();
            pool.free = region
                .and_then(|region| region.free_bytes())
                .map(|bytes| FreeMemory {
                    bytes,
                    read_at: now(),
                });
            for source in sources {
                let is_heap = SourceKind::of(&source.id) == SourceKind::Heap;
                if !is_heap && source.guarantees.pools.contains(&pool.id) {
                    pool.add_page_fallback(source.id.clone());
                }
            }
            pool
        })
        .collect()
}

/// Returns the identifier of the pool from which the CMA heap of this name allocates. It is the same pool for all names of the
/// default region.
pub(super) fn pool_id(heap: &str) -> PoolId {
    let name = if DEFAULT_NAMES.contains(&heap) {
        DEFAULT_NAMES[0]
    } else {
        heap
    };
    PoolId::new(format!("{PREFIX}{name}"))
}

/// Returns the identifier of the default CMA region's pool, from which devices without a region of their own allocate; `None` if
/// this kernel has no CMA.
#[cfg(any(feature = "drm", feature = "v4l2"))]
pub(super) fn default_pool() -> Option<PoolId> {
    meminfo::cma_total_bytes()
        .filter(|bytes| *bytes > 0)
        .map(|_| pool_id(DEFAULT_NAMES[0]))
}

/// Returns the current time in seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A CMA region. Its size and address do not change while the machine runs.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "heap"),
    allow(
        dead_code,
        reason = "only the heap backend declares the addresses of a region"
    )
)]
pub(super) struct Region {
    pub(super) window: AddressWindow,
    /// The size in bytes; `None` if the kernel reports only the sum of all regions.
    pub(super) bytes: Option<u64>,
    free_memory: FreeMemorySource,
}

/// Where the kernel reports the free memory of a region.
#[derive(Debug)]
enum FreeMemorySource {
    /// The region's directory in debugfs, which only root may read and few kernels have.
    Debugfs(PathBuf),
    /// The region's directory in sysfs, which does not contain the address of the region.
    Sysfs(PathBuf),
    /// `/proc/meminfo`, which has only the sum of all regions.
    Meminfo,
}

impl Region {
    /// Finds the region of the heap with this name; `None` if the kernel does not report it.
    pub(super) fn of(heap: &str) -> Option<Self> {
        let is_default = DEFAULT_NAMES.contains(&heap);
        let aliases = DEFAULT_NAMES.into_iter().filter(|_| is_default);
        let names: Vec<&str> = std::iter::once(heap).chain(aliases).collect();
        let region_in = |folder: &str, read: fn(PathBuf) -> Option<Self>| {
            let mut folders = names.iter().map(|name| Path::new(folder).join(name));
            folders.find_map(read)
        };
        // Only debugfs has the address of a region, so it is tried first.
        region_in("/sys/kernel/debug/cma", Self::from_debugfs)
            .or_else(|| region_in("/sys/kernel/mm/cma", Self::from_sysfs))
            .or_else(|| {
                is_default.then(|| Self {
                    window: meminfo::memory_window(),
                    bytes: None,
                    free_memory: FreeMemorySource::Meminfo,
                })
            })
    }

    /// Reads the region from sysfs. The directory has the name of the heap, because the kernel's `cma_heap` names each heap after
    /// its region.
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

    /// Returns an upper bound of the size in bytes: the sum of all regions, if the kernel reports only that.
    fn capacity_bytes(&self) -> Option<u64> {
        self.bytes.or_else(meminfo::cma_total_bytes)
    }

    /// Returns the free bytes; `None` if the kernel does not report them.
    pub(super) fn free_bytes(&self) -> Option<u64> {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::constraint::SourceId;

    #[test]
    fn region_in_sysfs_has_its_size_and_its_free_memory() {
        let folder = tempfile::tempdir().unwrap();
        let of = || Region::from_sysfs(folder.path().to_owned());
        // Before Linux 6.11 the sysfs directory of a region has counters of allocations, and neither its size nor its free
        // memory.
        fs::write(folder.path().join("alloc_pages_success"), "3\n").unwrap();
        assert!(of().is_none());
        fs::write(folder.path().join("total_pages"), "16384\n").unwrap();
        fs::write(folder.path().join("available_pages"), "16000\n").unwrap();
        let region = of().unwrap();
        assert_eq!(region.bytes, Some(16384 * meminfo::page_bytes()));
        assert_eq!(region.free_bytes(), Some(16000 * meminfo::page_bytes()));
    }

    #[test]
    fn sources_of_one_region_name_one_pool_and_heaps_have_no_fallback() {
        let of = |id: &str| {
            let mut source = Source::new(SourceId::new(id), id);
            source.guarantees.pools = [pool_id("linux,cma")].into();
            source
        };
        let sources = [of("heap:linux,cma"), of("v4l2:vivid@x:capture")];
        let found = pools(&sources);
        let [pool] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(pool.id.as_str(), "cma:default_cma_region");
        assert!(pool.fallback_of(&sources[0].id).is_none());
        assert!(pool.fallback_of(&sources[1].id).is_some());
        assert!(pools(&[Source::new(SourceId::new("heap:system"), "system")]).is_empty());
    }
}
