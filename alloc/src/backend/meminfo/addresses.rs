//! The physical addresses of this machine's memory, and its page size.

use std::path::Path;

use super::read;
use crate::constraint::AddressWindow;

/// Returns the range of physical addresses of all memory; the full range if the kernel does not report it.
pub(in crate::backend) fn memory_window() -> AddressWindow {
    let highest = read("/proc/zoneinfo")
        .and_then(|text| end_frame(&text))
        .and_then(|end| end.checked_mul(page_bytes())?.checked_sub(1));
    AddressWindow {
        lowest: 0,
        highest: highest.unwrap_or(u64::MAX),
    }
}

/// Returns the page size in bytes.
pub(in crate::backend) fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Reads a number from a file with one line.
pub(in crate::backend) fn read_number(path: impl AsRef<Path>) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// Returns the first page frame number after the last memory zone that has pages, from the text of `/proc/zoneinfo`.
fn end_frame(zoneinfo: &str) -> Option<u64> {
    let (mut spanned, mut present) = (0, 0);
    let mut end = None;
    for line in zoneinfo.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Node"), _) => (spanned, present) = (0, 0),
            (Some("spanned"), Some(pages)) => spanned = pages.parse::<u64>().ok()?,
            (Some("present"), Some(pages)) => present = pages.parse::<u64>().ok()?,
            (Some("start_pfn:"), Some(first)) if present > 0 => {
                end = end.max(first.parse::<u64>().ok()?.checked_add(spanned));
            }
            _ => {}
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_without_memory_are_ignored() {
        let zone = |name: &str, spanned: u64, present: u64, first: u64| {
            format!(
                "Node 0, zone {name}\n  pages free 1\n        spanned  {spanned}\n        present  {present}\n  start_pfn:           {first}\n"
            )
        };
        let text = zone("DMA", 4095, 3998, 1)
            + &zone("DMA32", 520_160, 520_160, 4096)
            + &zone("Movable", 9, 0, 1 << 40);
        assert_eq!(end_frame(&text), Some(4096 + 520_160));
        assert_eq!(end_frame(""), None);
    }
}
