//! Pools: memory of a limited size from which several sources allocate.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::source::SourceId;
use crate::reading::{ExtraFields, keeps_extra_fields};
use crate::text::printable;

/// The identifier of a pool on one machine, such as `cma:default_cma_region`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PoolId(String);

impl PoolId {
    /// Makes an identifier from a text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// Returns the identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

keeps_extra_fields! {
    /// Memory of a limited size: a CMA region, a carve-out, huge pages, or the memory of a card.
    ///
    /// The sources that allocate from the pool name it in [`Guarantees::pools`](super::Guarantees::pools). All of them share its
    /// capacity.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Pool {
        /// The identifier of the pool. Sources refer to it.
        pub id: PoolId,
        /// The name of the pool in messages.
        pub name: String,
        /// The size of the pool in bytes; `None` if unknown. A plan that needs more than this is impossible.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub capacity_bytes: Option<u64>,
        /// The memory that was free when the pool was queried; `None` if unknown. A plan that needs more than this is possible
        /// but not guaranteed, because other users may free memory.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub free: Option<FreeMemory>,
        /// The unit of allocation in bytes, such as a page.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        pub unit_bytes: u64,
        /// The maximum alignment of an allocation in bytes. An allocation begins at a multiple of its size, rounded up to a power
        /// of two, or at a multiple of this number if that is less. CMA aligns allocations in this way (`CONFIG_CMA_ALIGNMENT`).
        /// Memory that is skipped for the alignment counts as allocated.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        pub alignment_bytes: u64,
        /// The allocator that provides small buffers after the pool is exhausted; `None` if all buffers come from the pool.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fallback: Option<PoolFallback>,
        /// JSON fields that a newer version wrote. If one of them is not marked as optional, no plan can use the pool, because
        /// the meaning of the field is not known.
        #[serde(skip)]
        pub extra_fields: ExtraFields,
    }
}

/// The amount of free memory in a pool at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreeMemory {
    /// The number of free bytes.
    pub bytes: u64,
    /// The time at which the number was read, in seconds since 1970; 0 if unknown.
    #[serde(default)]
    pub read_at: u64,
}

/// The allocator that provides small buffers after a pool is exhausted. Such buffers do not count as memory of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolFallback {
    /// The size in bytes of the largest dma-buf that the other allocator can provide.
    pub up_to_bytes: u64,
    /// The other allocator, as a noun such as `the page allocator`.
    pub from: String,
    /// The sources to which the fallback applies. An empty set means all sources of the pool. For example, a V4L2 queue has a
    /// fallback, and a CMA heap of the same region has none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub sources: BTreeSet<SourceId>,
}

/// Memory that a participant allocates from a pool for itself, such as a decoder's reference frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnMemory {
    /// The identifier of the pool.
    pub pool: PoolId,
    /// The number of buffers.
    pub buffers: u32,
    /// The size of each buffer in bytes.
    pub bytes: u64,
}

fn one() -> u64 {
    1
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls this function with a reference"
)]
fn is_one(number: &u64) -> bool {
    *number == 1
}

impl Pool {
    /// The unit of allocation of a CMA region in bytes, for a kernel with pages of 4 KiB.
    pub const CMA_UNIT_BYTES: u64 = 4096;
    /// The maximum alignment in a CMA region in bytes: 256 pages, the default of `CONFIG_CMA_ALIGNMENT`.
    pub const CMA_ALIGNMENT_BYTES: u64 = 1 << 20;
    /// The largest block of the page allocator in bytes: `MAX_PAGE_ORDER` 10, the default of most kernels with pages of 4 KiB.
    pub const LARGEST_BLOCK_BYTES: u64 = 4 << 20;

    /// Makes a pool of unknown size. Characters of the name that are not printable are replaced.
    pub fn new(id: PoolId, name: impl Into<String>) -> Self {
        Self {
            id,
            name: printable(&name.into()),
            capacity_bytes: None,
            free: None,
            unit_bytes: 1,
            alignment_bytes: 1,
            fallback: None,
            extra_fields: ExtraFields::default(),
        }
    }

    /// Makes the pool of a CMA region, from which the kernel's DMA API and a dma-heap allocate.
    ///
    /// # References
    /// Linux 7.3, `mm/cma.c`; `kernel/dma/contiguous.c`, `dma_alloc_contiguous`; `drivers/dma-buf/heaps/cma_heap.c`.
    pub fn cma(id: PoolId, name: impl Into<String>, capacity_bytes: Option<u64>) -> Self {
        Self {
            capacity_bytes,
            unit_bytes: Self::CMA_UNIT_BYTES,
            alignment_bytes: Self::CMA_ALIGNMENT_BYTES,
            ..Self::new(id, name)
        }
    }

    /// Adds a source whose small buffers come from the page allocator after the region is exhausted.
    ///
    /// # References
    /// Linux 7.3, `kernel/dma/direct.c`, `__dma_direct_alloc_pages`.
    pub fn add_page_fallback(&mut self, source: SourceId) {
        self.fallback
            .get_or_insert_with(|| PoolFallback {
                up_to_bytes: Self::LARGEST_BLOCK_BYTES,
                from: "the page allocator".to_owned(),
                sources: BTreeSet::new(),
            })
            .sources
            .insert(source);
    }

    /// Returns the number of bytes that a dma-buf of a source takes from the pool: its size, rounded up as
    /// [`Pool::whole_units`] does. The result is 0 if another allocator provides the dma-buf when the pool is exhausted.
    #[must_use]
    pub fn bytes_taken(&self, source: &SourceId, dmabuf_bytes: u64) -> u64 {
        match self.fallback_of(source) {
            Some(fallback) if dmabuf_bytes <= fallback.up_to_bytes => 0,
            _ => self.whole_units(dmabuf_bytes),
        }
    }

    /// Returns the allocator that a source uses after the pool is exhausted. It provides only dma-bufs of at most
    /// [`PoolFallback::up_to_bytes`]. The result is `None` if all buffers of the source come from the pool.
    #[must_use]
    pub fn fallback_of(&self, source: &SourceId) -> Option<&PoolFallback> {
        let fallback = self.fallback.as_ref();
        fallback.filter(|fallback| fallback.sources.is_empty() || fallback.sources.contains(source))
    }

    /// Returns the number of bytes that an allocation of this size takes from the pool. This is the size, rounded up to a
    /// multiple of the unit of allocation ([`Pool::unit_bytes`]) or of the alignment ([`Pool::alignment_bytes`]), whichever is
    /// greater.
    #[must_use]
    pub fn whole_units(&self, bytes: u64) -> u64 {
        let power = bytes.checked_next_power_of_two().unwrap_or(u64::MAX);
        let step = self.unit_bytes.max(self.alignment_bytes.min(power)).max(1);
        bytes.checked_next_multiple_of(step).unwrap_or(u64::MAX)
    }
}

impl OwnMemory {
    /// Returns the number of bytes that all these buffers take from the pool.
    #[must_use]
    pub fn bytes_taken(&self, pool: &Pool) -> u64 {
        pool.whole_units(self.bytes)
            .saturating_mul(self.buffers.into())
    }
}

impl FreeMemory {
    /// Describes the time at which the number was read, as an adverb such as `at 2026-11-29 16:00 UTC`.
    #[must_use]
    pub fn time(&self) -> String {
        /// 9999-12-31 23:59:59 UTC, in seconds since 1970.
        const LAST: u64 = 253_402_300_799;
        if self.read_at == 0 || self.read_at > LAST {
            return "at an unknown time".to_owned();
        }
        let (days, seconds) = (self.read_at / 86_400, self.read_at % 86_400);
        // The days are counted from 1 March of year 0, so that a leap day is the last day of its year.
        let days = days.saturating_add(719_468);
        let (era, day) = (days / 146_097, days % 146_097);
        let year = day
            .saturating_sub(day / 1460)
            .saturating_add(day / 36_524)
            .saturating_sub(day / 146_096)
            / 365;
        let day = day
            .saturating_sub(year.saturating_mul(365))
            .saturating_sub(year / 4)
            .saturating_add(year / 100);
        let month = day.saturating_mul(5).saturating_add(2) / 153;
        let day = day
            .saturating_sub(month.saturating_mul(153).saturating_add(2) / 5)
            .saturating_add(1);
        let year = era.saturating_mul(400).saturating_add(year);
        let (year, month) = if month < 10 {
            (year, month.saturating_add(3))
        } else {
            (year.saturating_add(1), month.saturating_sub(9))
        };
        let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
        format!("at {year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_of_free_memory_is_a_date() {
        let time = |read_at| FreeMemory { bytes: 1, read_at }.time();
        assert_eq!(time(0), "at an unknown time");
        assert_eq!(time(951_782_399), "at 2000-02-28 23:59 UTC");
        assert_eq!(time(951_782_400), "at 2000-02-29 00:00 UTC");
        assert_eq!(time(1_767_225_599), "at 2025-12-31 23:59 UTC");
        assert_eq!(time(1_772_323_260), "at 2026-03-01 00:01 UTC");
        assert_eq!(time(u64::MAX), "at an unknown time");
    }

    #[test]
    fn buffer_of_a_cma_region_takes_its_alignment_too() {
        let (heap, queue) = (SourceId::new("heap:cma"), SourceId::new("v4l2:capture"));
        let mut pool = Pool::cma(PoolId::new("cma"), "cma", Some(32 << 20));
        pool.add_page_fallback(queue.clone());
        assert_eq!(pool.bytes_taken(&heap, 5000), 8192);
        assert_eq!(pool.bytes_taken(&heap, 640 * 480 * 4), 2 << 20);
        assert_eq!(pool.bytes_taken(&heap, (4 << 20) + 1), 5 << 20);
        assert_eq!(pool.bytes_taken(&queue, 4 << 20), 0);
        assert_eq!(pool.bytes_taken(&queue, (4 << 20) + 1), 5 << 20);
        assert_eq!(pool.bytes_taken(&heap, u64::MAX), u64::MAX);
    }
}
