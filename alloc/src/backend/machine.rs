//! What the machine has: how much memory is free, and where it lies.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;
use std::sync::OnceLock;

#[cfg(any(feature = "heap", feature = "udmabuf"))]
use crate::constraint::AddressWindow;
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
use crate::solve::Plan;

/// Share of all memory that is left to others: a heap that is asked for the last page makes the kernel kill processes.
const LEFT_TO_OTHERS: u64 = 16;

/// Returns how many bytes of pages can be taken without harm to others; `None` where `/proc` does not tell.
pub(super) fn available_bytes() -> Option<u64> {
    spare(&text("/proc/meminfo")?)
}

/// Returns how many bytes of pages can be taken without harm to others where they are fewer than `needed_bytes`; `None` where
/// those are to be had, or nothing tells.
pub(super) fn fewer_available_than(needed_bytes: u64) -> Option<u64> {
    if needed_bytes <= surely_available_bytes() {
        return None;
    }
    available_bytes().filter(|available| needed_bytes > *available)
}

/// Returns what can be taken at the least, by one system call in the place of four: the pages that nothing is in, and of
/// these as much again left alone, for what the kernel keeps of them for itself.
fn surely_available_bytes() -> u64 {
    // Set aside when the kernel started, and not for pages that stay where they are.
    static CONTIGUOUS_BYTES: OnceLock<u64> = OnceLock::new();
    let contiguous = *CONTIGUOUS_BYTES.get_or_init(|| {
        text("/proc/meminfo")
            .and_then(|text| meminfo(&text, "CmaTotal"))
            .unwrap_or(0)
    });
    let machine = rustix::system::sysinfo();
    let unit = u64::from(machine.mem_unit);
    let (total, free) = (wide(machine.totalram), wide(machine.freeram));
    let kept = total.checked_div(LEFT_TO_OTHERS / 2);
    let pages = free.saturating_sub(kept.unwrap_or(u64::MAX));
    pages.saturating_mul(unit).saturating_sub(contiguous)
}

/// An `unsigned long` of the kernel, which has 32 bits on some targets and 64 on others.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

/// Bytes that a plan needs, and those that can be taken, which are fewer.
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
pub(super) struct Shortage {
    pub(super) needed_bytes: u64,
    pub(super) available_bytes: u64,
}

/// Holds a plan whose buffers are made of the machine's pages against what can be taken; `None` where it fits or nothing tells.
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
pub(super) fn shortage(plan: &Plan) -> Option<Shortage> {
    let needed_bytes = plan
        .layout()
        .total_bytes()
        .saturating_mul(u64::from(plan.count()));
    fewer_available_than(needed_bytes).map(|available_bytes| Shortage {
        needed_bytes,
        available_bytes,
    })
}

/// Returns the kernel's words where this process can open no more files: drivers then say that memory is out.
#[cfg(any(feature = "gbm", feature = "vulkan"))]
pub(crate) fn fds_are_out() -> Option<std::io::Error> {
    fs::File::open("/proc/self/stat")
        .err()
        .filter(|error| error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()))
}

/// Returns how many bytes of the CMA regions are free; `None` where there are none.
#[cfg(feature = "heap")]
pub(super) fn cma_free_bytes() -> Option<u64> {
    meminfo(&text("/proc/meminfo")?, "CmaFree")
}

/// Returns the addresses in which all memory lies; all there are where nothing tells.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
pub(super) fn memory_window() -> AddressWindow {
    let highest = text("/proc/zoneinfo")
        .and_then(|text| highest_frame(&text))
        .and_then(|end| end.checked_mul(page_bytes())?.checked_sub(1));
    AddressWindow {
        lowest: 0,
        highest: highest.unwrap_or(u64::MAX),
    }
}

/// Returns the size of a page.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
pub(super) fn page_bytes() -> u64 {
    u64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

/// Reads a number from a file of one line.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
pub(super) fn number(path: impl AsRef<Path>) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

/// Reads one of the kernel's own files: it says no length, and `fs::read_to_string` finds its end in twice as many calls. One that is
/// longer than any of these files is not believed.
fn text(path: impl AsRef<Path>) -> Option<String> {
    const STEP: usize = 8192;
    // The longest is zoneinfo, which has half a KiB for each processor and zone.
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

fn spare(meminfo_text: &str) -> Option<u64> {
    let kept = meminfo(meminfo_text, "MemTotal")?.checked_div(LEFT_TO_OTHERS)?;
    // Free contiguous memory counts as available, and buffers whose pages stay where they are get none of it.
    let contiguous = meminfo(meminfo_text, "CmaFree").unwrap_or(0);
    let others = kept.saturating_add(contiguous);
    Some(meminfo(meminfo_text, "MemAvailable")?.saturating_sub(others))
}

fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// Returns the first page frame behind all zones that have memory.
#[cfg(any(feature = "heap", feature = "udmabuf"))]
fn highest_frame(zoneinfo: &str) -> Option<u64> {
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
    fn memory_to_spare_leaves_a_share_to_others() {
        let text = "MemTotal:  1600 kB\nMemFree: 1 kB\nMemAvailable:  300 kB\nCmaFree: 7 kB\n";
        assert_eq!(spare(text), Some(193 * 1024));
        assert_eq!(
            spare("MemTotal: 1600 kB\nMemAvailable: 300 kB\n"),
            Some(200 * 1024)
        );
        assert_eq!(spare("MemTotal: 1600 kB\nMemAvailable: 10 kB\n"), Some(0));
        assert_eq!(spare("MemTotal: x kB\n"), None);
        assert_eq!(meminfo(text, "CmaFree"), Some(7 * 1024));
        assert_eq!(meminfo(text, "Mem"), None);
    }

    #[test]
    fn file_without_an_end_is_not_read_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("meminfo");
        // Nothing of it is stored on the disk.
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(text(&path), None);
        fs::write(&path, "MemTotal: 4 kB\n").unwrap();
        assert_eq!(text(&path).as_deref(), Some("MemTotal: 4 kB\n"));
    }

    #[cfg(any(feature = "heap", feature = "udmabuf"))]
    #[test]
    fn zones_without_memory_do_not_count() {
        let zone = |name: &str, spanned: u64, present: u64, first: u64| {
            format!(
                "Node 0, zone {name}\n  pages free 1\n        spanned  {spanned}\n        present  {present}\n  start_pfn:           {first}\n"
            )
        };
        let text = zone("DMA", 4095, 3998, 1)
            + &zone("DMA32", 520_160, 520_160, 4096)
            + &zone("Movable", 9, 0, 1 << 40);
        assert_eq!(highest_frame(&text), Some(4096 + 520_160));
        assert_eq!(highest_frame(""), None);
    }
}
