//! The memory of this machine: how much is available, and its physical addresses.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::OnceLock;

#[cfg(any(feature = "heap", feature = "udmabuf"))]
use crate::constraint::AddressWindow;
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
use crate::solve::Plan;

/// The divisor of the share of all memory that stays available to other programs: if a heap allocates the last pages, the kernel
/// kills processes.
const RESERVED_DIVISOR: u64 = 16;

/// Returns the bytes of pages that can be allocated without harm to other programs; `None` if `/proc` does not report them.
pub(super) fn available_bytes() -> Option<u64> {
    available_from(&read("/proc/meminfo")?)
}

/// Returns the available bytes if they are fewer than `needed_bytes`; `None` if the memory is sufficient, or not known.
pub(super) fn available_if_insufficient(needed_bytes: u64) -> Option<u64> {
    if needed_bytes <= minimum_available_bytes() {
        return None;
    }
    available_bytes().filter(|available| needed_bytes > *available)
}

/// Returns a lower bound of the available bytes with one system call instead of four: the free pages, less twice the share for
/// other programs, because the kernel keeps some free pages for itself.
fn minimum_available_bytes() -> u64 {
    // CMA regions are reserved at boot, and are not available for pages that cannot be moved.
    static CONTIGUOUS_BYTES: OnceLock<u64> = OnceLock::new();
    let contiguous = *CONTIGUOUS_BYTES.get_or_init(|| {
        read("/proc/meminfo")
            .and_then(|text| field_bytes(&text, "CmaTotal"))
            .unwrap_or(0)
    });
    let machine = rustix::system::sysinfo();
    let unit = u64::from(machine.mem_unit);
    let (total, free) = (
        unsigned_long(machine.totalram),
        unsigned_long(machine.freeram),
    );
    let reserved = total.checked_div(RESERVED_DIVISOR / 2);
    let pages = free.saturating_sub(reserved.unwrap_or(u64::MAX));
    pages.saturating_mul(unit).saturating_sub(contiguous)
}

/// Converts an `unsigned long` of the kernel, which has 32 or 64 bits.
fn unsigned_long(number: impl Into<u64>) -> u64 {
    number.into()
}

/// The bytes that a plan needs, and the available bytes, which are fewer.
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
pub(super) struct Shortage {
    pub(super) needed_bytes: u64,
    pub(super) available_bytes: u64,
}

/// Compares the memory of a plan, whose buffers are made of pages, with the available memory; `None` if it is sufficient or not
/// known.
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
pub(super) fn shortage(plan: &Plan) -> Option<Shortage> {
    let needed_bytes = plan
        .layout()
        .total_bytes()
        .saturating_mul(u64::from(plan.count()));
    available_if_insufficient(needed_bytes).map(|available_bytes| Shortage {
        needed_bytes,
        available_bytes,
    })
}

/// Returns the kernel's error if this process can open no more files; drivers then report that memory ran out.
#[cfg(any(feature = "gbm", feature = "vulkan"))]
pub(crate) fn fd_limit_error() -> Option<std::io::Error> {
    fs::File::open("/proc/self/stat")
        .err()
        .filter(|error| error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()))
}

/// Returns the free bytes of all CMA regions; `None` if there are none.
#[cfg(feature = "heap")]
pub(super) fn cma_free_bytes() -> Option<u64> {
    field_bytes(&read("/proc/meminfo")?, "CmaFree")
}

/// Returns the range of physical addresses of all memory; the full range if the kernel does not report it.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
pub(super) fn memory_window() -> AddressWindow {
    let highest = read("/proc/zoneinfo")
        .and_then(|text| end_frame(&text))
        .and_then(|end| end.checked_mul(page_bytes())?.checked_sub(1));
    AddressWindow {
        lowest: 0,
        highest: highest.unwrap_or(u64::MAX),
    }
}

/// Returns the page size in bytes.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
pub(super) fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Reads a number from a file with one line.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
pub(super) fn read_number(path: impl AsRef<Path>) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// Reads a file of procfs or sysfs. Such a file has no size, and `fs::read_to_string` needs twice as many calls for it. A file
/// that is larger than all known ones is refused.
fn read(path: impl AsRef<Path>) -> Option<String> {
    const STEP: usize = 8192;
    // The longest one is zoneinfo, with half a KiB for each CPU and zone.
    const MOST: usize = 16 << 20;
    let mut file = fs::File::open(path).ok()?;
    let (mut bytes, mut read) = (Vec::new(), 0_usize);
    loop {
        bytes.resize(read.checked_add(STEP)?, 0);
        match file.read(bytes.get_mut(read..)?) {
            Ok(0) => break,
            Ok(more) => read = read.checked_add(more).filter(|read| *read <= MOST)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    bytes.truncate(read);
    String::from_utf8(bytes).ok()
}

fn available_from(text: &str) -> Option<u64> {
    let reserved = field_bytes(text, "MemTotal")?.checked_div(RESERVED_DIVISOR)?;
    // MemAvailable includes free CMA memory, which is not available for pages that cannot be moved.
    let contiguous = field_bytes(text, "CmaFree").unwrap_or(0);
    let others = reserved.saturating_add(contiguous);
    Some(field_bytes(text, "MemAvailable")?.saturating_sub(others))
}

fn field_bytes(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Returns the page frame number after the last zone that has memory.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
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
    fn available_memory_excludes_a_share_for_other_programs() {
        let text = "MemTotal:  1600 kB\nMemFree: 1 kB\nMemAvailable:  300 kB\nCmaFree: 7 kB\n";
        assert_eq!(available_from(text), Some(193 * 1024));
        assert_eq!(
            available_from("MemTotal: 1600 kB\nMemAvailable: 300 kB\n"),
            Some(200 * 1024)
        );
        assert_eq!(
            available_from("MemTotal: 1600 kB\nMemAvailable: 10 kB\n"),
            Some(0)
        );
        assert_eq!(available_from("MemTotal: x kB\n"), None);
        assert_eq!(field_bytes(text, "CmaFree"), Some(7 * 1024));
        assert_eq!(field_bytes(text, "Mem"), None);
    }

    #[test]
    fn endless_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meminfo");
        // A sparse file: no block is allocated on the disk.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&path), None);
        fs::write(&path, "MemTotal: 4 kB\n").unwrap();
        assert_eq!(read(&path).as_deref(), Some("MemTotal: 4 kB\n"));
    }

    #[cfg(any(feature = "heap", feature = "udmabuf"))]
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
