//! How many bytes this process's CPU moved through guards.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

static READ: AtomicU64 = AtomicU64::new(0);
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// Bytes moved between buffers and ordinary memory since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTraffic {
    /// Bytes read out of buffers.
    pub read_bytes: u64,
    /// Bytes written into buffers.
    pub written_bytes: u64,
}

impl CpuTraffic {
    /// What was moved since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.wrapping_sub(earlier.read_bytes),
            written_bytes: self.written_bytes.wrapping_sub(earlier.written_bytes),
        }
    }

    /// Bytes moved either way.
    #[must_use]
    pub const fn total_bytes(self) -> u64 {
        self.read_bytes.wrapping_add(self.written_bytes)
    }
}

/// The totals of this process.
///
/// They are counted where bytes move, inside of the guard, so that a copy made elsewhere in the program cannot be
/// forgotten by whoever reports them.
#[must_use]
pub fn cpu_traffic() -> CpuTraffic {
    CpuTraffic {
        read_bytes: READ.load(Ordering::Relaxed),
        written_bytes: WRITTEN.load(Ordering::Relaxed),
    }
}

pub(super) fn count_read(bytes: usize) {
    READ.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}

pub(super) fn count_written(bytes: usize) {
    WRITTEN.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
}
