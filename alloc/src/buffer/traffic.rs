//! Counts the bytes that the CPU copies from and to mapped buffers.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// The bytes that were copied from and to mapped buffers in this process.
static READ: AtomicU64 = AtomicU64::new(0);
static WRITTEN: AtomicU64 = AtomicU64::new(0);

/// The numbers of bytes that the CPU copied between buffers and other memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTraffic {
    /// Bytes that were read from buffers.
    pub read_bytes: u64,
    /// Bytes that were written to buffers.
    pub written_bytes: u64,
}

impl CpuTraffic {
    /// Returns the bytes that were copied since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            read_bytes: self.read_bytes.wrapping_sub(earlier.read_bytes),
            written_bytes: self.written_bytes.wrapping_sub(earlier.written_bytes),
        }
    }

    /// Returns the bytes that were copied in both directions.
    #[must_use]
    pub const fn total_bytes(self) -> u64 {
        self.read_bytes.wrapping_add(self.written_bytes)
    }
}

/// Returns the bytes that the CPU has copied to and from buffers since this process began.
///
/// The totals contain all CPU accesses of the program to [`Buffer`](super::Buffer)s, because every access goes through a
/// [`MapGuard`](super::MapGuard), which counts its bytes.
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
