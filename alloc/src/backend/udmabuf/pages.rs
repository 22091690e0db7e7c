//! The pages that memory is made of: ordinary ones, and huge ones of every size that the machine has.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::MemfdFlags;

use crate::backend::machine;

const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// Pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// Those of the processor.
    Ordinary,
    /// hugetlb pages of this many bytes.
    Huge(u64),
}

impl Pages {
    /// Lists the sizes in bytes of huge pages of which the machine has any, smallest first.
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
            Self::Ordinary => machine::page_bytes(),
            Self::Huge(bytes) => bytes,
        }
    }

    pub(super) fn is_huge(self) -> bool {
        matches!(self, Self::Huge(_))
    }

    /// What can be had at this time; `None` where nothing tells.
    ///
    /// Pages that another program has reserved by a mapping are still listed as free, and are not ours.
    pub(super) fn available_bytes(self) -> Option<u64> {
        let Self::Huge(bytes) = self else {
            return machine::available_bytes();
        };
        let free = count(bytes, "free_hugepages")?;
        let reserved = count(bytes, "resv_hugepages").unwrap_or(0);
        free.saturating_sub(reserved).checked_mul(bytes)
    }

    /// What can be had at this time where that is less than `needed_bytes`; `None` where it is enough, or nothing tells.
    pub(super) fn fewer_available_than(self, needed_bytes: u64) -> Option<u64> {
        if self == Self::Ordinary {
            return machine::fewer_available_than(needed_bytes);
        }
        self.available_bytes()
            .filter(|available| needed_bytes > *available)
    }

    /// Rounds up to what a memfd of these pages can have.
    pub(super) fn whole(self, bytes: u64) -> u64 {
        bytes
            .checked_next_multiple_of(self.bytes())
            .unwrap_or(u64::MAX)
    }

    /// What `memfd_create` has to be told.
    pub(super) fn flags(self) -> MemfdFlags {
        match self {
            Self::Ordinary => MemfdFlags::empty(),
            Self::Huge(bytes) => {
                // memfd_create(2): the logarithm of the page size lies above bit 26.
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

fn count(page_bytes: u64, file: &str) -> Option<u64> {
    machine::number(folder(page_bytes).join(file))
}

fn folder(page_bytes: u64) -> PathBuf {
    Path::new(HUGE_PAGES).join(format!("hugepages-{}kB", page_bytes >> 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_that_names_no_page_size_is_passed_over() {
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
    fn size_is_rounded_to_whole_pages_and_never_wraps() {
        assert_eq!(Pages::Huge(2 << 20).whole(1), 2 << 20);
        assert_eq!(Pages::Huge(2 << 20).whole(2 << 20), 2 << 20);
        assert_eq!(Pages::Huge(2 << 20).whole(u64::MAX), u64::MAX);
    }

    #[test]
    fn flags_carry_the_page_size() {
        assert_eq!(
            Pages::Huge(2 << 20).flags().bits(),
            (21 << 26) | MemfdFlags::HUGETLB.bits()
        );
        assert!(Pages::Ordinary.flags().is_empty());
    }
}
