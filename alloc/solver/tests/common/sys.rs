//! An allocator that counts the memory that each thread has allocated.
#![allow(
    unsafe_code,
    reason = "a global allocator is unsafe to write; this one forwards every call to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The memory that one thread has allocated.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The maximum number of bytes that were allocated at the same time.
    pub(crate) peak_bytes: usize,
    /// The number of allocations and reallocations.
    #[allow(
        dead_code,
        reason = "some tests read only the memory and not the number of allocations"
    )]
    pub(crate) allocations: usize,
}

/// Counts each thread's allocations and forwards them to the system's allocator.
struct CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

thread_local! {
    // These values have no destructor and allocate nothing, because an allocator must not allocate.
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Runs a function. Returns its result and the memory that it allocated on this thread. Memory that was allocated before the call
/// is not counted.
pub(crate) fn measured<T>(run: impl FnOnce() -> T) -> (T, Usage) {
    // Memory that earlier tests on other threads free is not counted on this thread.
    LIVE.set(0);
    PEAK.set(0);
    ALLOCATIONS.set(0);
    let outcome = run();
    let usage = Usage {
        peak_bytes: PEAK.get(),
        allocations: ALLOCATIONS.get(),
    };
    (outcome, usage)
}

fn grown(bytes: usize) {
    let live = LIVE.get().saturating_add(bytes);
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
    ALLOCATIONS.set(ALLOCATIONS.get().saturating_add(1));
}

fn shrunk(bytes: usize) {
    LIVE.set(LIVE.get().saturating_sub(bytes));
}

// SAFETY: every call is forwarded to the system's allocator with the arguments that it came with; counting allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller meets the requirements of this function, which are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        shrunk(layout.size());
        // SAFETY: the caller meets the requirements of this function, which are those of the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // The old and the new allocation may exist together while bytes are copied.
        grown(bytes);
        shrunk(layout.size());
        // SAFETY: the caller meets the requirements of this function, which are those of the system's allocator.
        unsafe { System.realloc(place, layout, bytes) }
    }
}
