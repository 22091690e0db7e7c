//! The clock that every timestamp here is of.

use std::time::Duration;

pub use covalent_alloc::trace::now;

/// The number of `CLOCK_MONOTONIC`, as `wp_presentation.clock_id` announces it.
pub const CLOCK_ID: u32 = 1;

/// Returns a time in nanoseconds as reports carry it.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns a time in milliseconds as `wl_callback.done` carries it, which starts again at zero after 49 days.
pub fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis() & u128::from(u32::MAX)).unwrap_or(0)
}
