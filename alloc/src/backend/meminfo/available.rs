//! How much memory is available for buffers that are made of pages.

use std::sync::OnceLock;

use super::{cma_total_bytes, field_bytes, read};
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
use crate::solve::Plan;

/// The divisor of the share of all memory that stays available to other programs: one sixteenth. If a heap allocated the last
/// pages, the kernel would kill processes.
const RESERVED_DIVISOR: u64 = 16;

/// Returns the bytes of pages that can be allocated without harm to other programs; `None` if `/proc` does not report them.
pub(in crate::backend) fn available_bytes() -> Option<u64> {
    available_from(&read("/proc/meminfo")?)
}

/// Returns the available bytes if they are fewer than `needed_bytes`; `None` if the memory is sufficient, or not known.
pub(in crate::backend) fn available_if_insufficient(needed_bytes: u64) -> Option<u64> {
    if needed_bytes <= minimum_available_bytes() {
        return None;
    }
    available_bytes().filter(|available| needed_bytes > *available)
}

/// Returns a lower bound of the available bytes: the free pages, less twice the share for other programs, because the kernel
/// keeps some free pages for itself. This takes one system call, and [`available_bytes`] takes four.
fn minimum_available_bytes() -> u64 {
    // Free CMA memory is subtracted: the kernel allocates in CMA regions only pages that can be moved, and the pages of buffers
    // cannot be moved.
    static CONTIGUOUS_BYTES: OnceLock<u64> = OnceLock::new();
    let contiguous = *CONTIGUOUS_BYTES.get_or_init(|| cma_total_bytes().unwrap_or(0));
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

/// The number of bytes that a plan needs, and the smaller number that is available.
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
pub(in crate::backend) struct Shortage {
    pub(in crate::backend) needed_bytes: u64,
    pub(in crate::backend) available_bytes: u64,
}

/// Compares the memory of a plan, whose buffers are made of pages, with the available memory; `None` if it is sufficient or not
/// known.
#[cfg(any(feature = "drm", feature = "gbm", feature = "vulkan"))]
pub(in crate::backend) fn shortage(plan: &Plan) -> Option<Shortage> {
    let needed_bytes = plan
        .layout()
        .total_bytes()
        .saturating_mul(u64::from(plan.count()));
    available_if_insufficient(needed_bytes).map(|available_bytes| Shortage {
        needed_bytes,
        available_bytes,
    })
}

fn available_from(text: &str) -> Option<u64> {
    let reserved = field_bytes(text, "MemTotal")?.checked_div(RESERVED_DIVISOR)?;
    // MemAvailable includes free CMA memory. The kernel allocates there only pages that can be moved, and the pages of buffers
    // cannot be moved.
    let contiguous = field_bytes(text, "CmaFree").unwrap_or(0);
    let unavailable = reserved.saturating_add(contiguous);
    Some(field_bytes(text, "MemAvailable")?.saturating_sub(unavailable))
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
}
