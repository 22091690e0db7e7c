//! `CLOCK_MONOTONIC`, the clock of all timestamps.

use std::time::Duration;

pub use covalent_alloc::trace::now;

/// The value of `CLOCK_MONOTONIC`, as `wp_presentation.clock_id` announces it.
pub const CLOCK_ID: u32 = 1;

/// Converts a time to nanoseconds, the unit of the report.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Converts a time to milliseconds as in `wl_callback.done`, which wraps after 49 days.
pub fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis() & u128::from(u32::MAX)).unwrap_or(0)
}
