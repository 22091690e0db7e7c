//! The page sizes of memfds: ordinary pages, and the huge page sizes of the machine.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::MemfdFlags;

use crate::backend::meminfo;

const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// The page size of a memfd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// Ordinary pages of the CPU.
    Ordinary,
    /// hugetlb pages of this size in bytes.
    Huge(u64),
}

impl Pages {
    /// Lists, in bytes and in ascending order, the huge page sizes for which the machine has reserved pages.
    pub(super) fn huge_sizes() -> Vec<u64> {
        let names = fs::read_dir(HUGE_PAGES)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok());
        let mut sizes: Vec<u64> = names
            .filter_map(|name| size_of_folder(&name))
            .filter(|size| count(*size, "nr_hugepages").is_some_and(|pages| pages > 0))
            .collect();
        sizes.sort_unstable();
        sizes
    }

    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Ordinary => meminfo::page_bytes(),
            Self::Huge(bytes) => bytes,
        }
    }

    pub(super) fn is_huge(self) -> bool {
        matches!(self, Self::Huge(_))
    }

    /// Returns how many bytes of these pages are available at present; `None` if the kernel does not report it.
    ///
    /// The kernel counts huge pages that another program has mapped and not used yet (`resv_hugepages`) as free, so they are
    /// subtracted.
    pub(super) fn available_bytes(self) -> Option<u64> {
        let Self::Huge(bytes) = self else {
            return meminfo::available_bytes();
        };
        let free = count(bytes, "free_hugepages")?;
        let reserved = count(bytes, "resv_hugepages").unwrap_or(0);
        free.saturating_sub(reserved).checked_mul(bytes)
    }

    /// Returns the available bytes if they are fewer than `needed_bytes`; `None` if the memory is sufficient, or not known.
    pub(super) fn available_if_insufficient(self, needed_bytes: u64) -> Option<u64> {
        if self == Self::Ordinary {
            return meminfo::available_if_insufficient(needed_bytes);
        }
        self.available_bytes()
            .filter(|available| needed_bytes > *available)
    }

    /// Rounds a size up to whole pages, since UDMABUF_CREATE takes only whole pages of a memfd.
    pub(super) fn round_up(self, bytes: u64) -> u64 {
        bytes
            .checked_next_multiple_of(self.bytes())
            .unwrap_or(u64::MAX)
    }

    /// Returns the flags of `memfd_create` for this page size.
    pub(super) fn flags(self) -> MemfdFlags {
        match self {
            Self::Ordinary => MemfdFlags::empty(),
            Self::Huge(bytes) => {
                // memfd_create(2): the base-2 logarithm of the page size is in the bits from 26 on.
                let logarithm = bytes.checked_ilog2().unwrap_or_default();
                MemfdFlags::HUGETLB | MemfdFlags::from_bits_retain(logarithm << 26)
            }
        }
    }
}

fn size_of_folder(name: &str) -> Option<u64> {
    let kilobytes: u64 = name
        .strip_prefix("hugepages-")?
        .strip_suffix("kB")?
        .parse()
        .ok()?;
    kilobytes
        .checked_mul(1024)
        .filter(|bytes| bytes.is_power_of_two())
}

/// Reads a number of huge pages of this size from sysfs.
fn count(page_bytes: u64, file: &str) -> Option<u64> {
    meminfo::read_number(folder(page_bytes).join(file))
}

/// Returns the sysfs folder of the huge pages of this size.
fn folder(page_bytes: u64) -> PathBuf {
    Path::new(HUGE_PAGES).join(format!("hugepages-{}kB", page_bytes >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_without_a_page_size_in_its_name_is_skipped() {
        assert_eq!(size_of_folder("hugepages-2048kB"), Some(2 << 20));
        for name in [
            "hugepages-kB",
            "hugepages-3kB",
            "hugepages--1kB",
            "hugepages-99999999999999999999kB",
            "x",
        ] {
            assert_eq!(size_of_folder(name), None, "{name}");
        }
        assert!(folder(1 << 30).ends_with("hugepages-1048576kB"));
    }

    #[test]
    fn size_is_rounded_up_to_whole_pages_without_overflow() {
        assert_eq!(Pages::Huge(2 << 20).round_up(1), 2 << 20);
        assert_eq!(Pages::Huge(2 << 20).round_up(2 << 20), 2 << 20);
        assert_eq!(Pages::Huge(2 << 20).round_up(u64::MAX), u64::MAX);
    }

    #[test]
    fn flags_contain_the_page_size() {
        assert_eq!(
            Pages::Huge(2 << 20).flags().bits(),
            (21 << 26) | MemfdFlags::HUGETLB.bits()
        );
        assert!(Pages::Ordinary.flags().is_empty());
    }
}
