//! Counts the bytes that the CPU read and wrote for each frame.
//!
//! All copies between two frames count for the later frame, wherever in the compositor they happen. Only the copies for
//! screenshots, captures and writeback are subtracted, because they belong to no frame.

use covalent_alloc::buffer::{CpuTraffic, cpu_traffic};

/// Counts the bytes that the CPU has read from and written to buffers in this process since the previous frame.
#[derive(Clone, Copy, Debug)]
pub struct CopyCounter {
    counted: CpuTraffic,
    excluded: CpuTraffic,
    own_bytes: u64,
}

impl Default for CopyCounter {
    fn default() -> Self {
        Self {
            counted: cpu_traffic(),
            excluded: CpuTraffic::default(),
            own_bytes: 0,
        }
    }
}

impl CopyCounter {
    /// Subtracts the bytes that were copied since `before`, because they belong to no frame.
    pub fn exclude(&mut self, before: CpuTraffic) {
        let moved = cpu_traffic().since(before);
        self.excluded = CpuTraffic {
            read_bytes: self.excluded.read_bytes.saturating_add(moved.read_bytes),
            written_bytes: self
                .excluded
                .written_bytes
                .saturating_add(moved.written_bytes),
        };
    }

    /// Subtracts bytes that the CPU wrote to textures or to memory of this process, because they belong to no frame.
    pub fn exclude_own(&mut self, bytes: u64) {
        self.own_bytes = self.own_bytes.saturating_add(bytes);
    }

    /// Returns the bytes that the CPU has read and written since the last call.
    ///
    /// `own_bytes` is the total number of bytes written to output buffers in memory of this process, which no access guard
    /// counts.
    pub fn take(&mut self, own_bytes: u64) -> CpuTraffic {
        let now = cpu_traffic();
        let moved = now.since(self.counted);
        let excluded = std::mem::take(&mut self.excluded);
        let newly_written = own_bytes.saturating_sub(self.own_bytes);
        self.counted = now;
        self.own_bytes = own_bytes;
        CpuTraffic {
            read_bytes: moved.read_bytes.saturating_sub(excluded.read_bytes),
            written_bytes: moved
                .written_bytes
                .saturating_sub(excluded.written_bytes)
                .saturating_add(newly_written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_counter_attributes_bytes_to_the_frame_they_were_written_for() {
        let mut copy_counter = CopyCounter::default();
        assert_eq!(copy_counter.take(100).written_bytes, 100);
        assert_eq!(copy_counter.take(100).written_bytes, 0);
        assert_eq!(copy_counter.take(164).written_bytes, 64);
    }
}
