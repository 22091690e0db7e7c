//! How many bytes the CPU moved for each frame.
//!
//! All that moves is counted, from one frame to the next and wherever in the program it happens; only what is known to be for
//! no frame (a screenshot, a picture written back) is taken out.

use covalent_alloc::buffer::{CpuTraffic, cpu_traffic};

/// Splits the traffic of the process into frames.
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
    /// Takes out what moved since `before`, which was for no frame.
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

    /// Returns what moved since the last frame.
    ///
    /// `own_bytes` is what was ever written to pictures in memory of this process, which no guard counts.
    pub fn take(&mut self, own_bytes: u64) -> CpuTraffic {
        let now = cpu_traffic();
        let moved = now.since(self.counted);
        let excluded = std::mem::take(&mut self.excluded);
        let own = own_bytes.saturating_sub(self.own_bytes);
        self.counted = now;
        self.own_bytes = own_bytes;
        CpuTraffic {
            read_bytes: moved.read_bytes.saturating_sub(excluded.read_bytes),
            written_bytes: moved
                .written_bytes
                .saturating_sub(excluded.written_bytes)
                .saturating_add(own),
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
