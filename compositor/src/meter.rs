//! How many bytes the CPU moved for each frame.
//!
//! All that moves is counted, from one frame to the next and wherever in the program it happens; only what is known to be for
//! no frame (a screenshot, a picture written back) is taken out.

use covalent_alloc::buffer::{CpuTraffic, cpu_traffic};

/// Splits the traffic of the process into frames.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    counted: CpuTraffic,
    aside: CpuTraffic,
    own_bytes: u64,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            counted: cpu_traffic(),
            aside: CpuTraffic::default(),
            own_bytes: 0,
        }
    }
}

impl Meter {
    /// Takes out what moved since `before`, which was for no frame.
    pub fn set_aside(&mut self, before: CpuTraffic) {
        let moved = cpu_traffic().since(before);
        self.aside = CpuTraffic {
            read_bytes: self.aside.read_bytes.saturating_add(moved.read_bytes),
            written_bytes: self.aside.written_bytes.saturating_add(moved.written_bytes),
        };
    }

    /// Returns what moved since the last frame.
    ///
    /// `own_bytes` is what was ever written to pictures in memory of this process, which no guard counts.
    pub fn take(&mut self, own_bytes: u64) -> CpuTraffic {
        let now = cpu_traffic();
        let moved = now.since(self.counted);
        let aside = std::mem::take(&mut self.aside);
        let own = own_bytes.saturating_sub(self.own_bytes);
        self.counted = now;
        self.own_bytes = own_bytes;
        CpuTraffic {
            read_bytes: moved.read_bytes.saturating_sub(aside.read_bytes),
            written_bytes: moved
                .written_bytes
                .saturating_sub(aside.written_bytes)
                .saturating_add(own),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meter_gives_each_frame_what_was_written_for_it() {
        let mut meter = Meter::default();
        assert_eq!(meter.take(100).written_bytes, 100);
        assert_eq!(meter.take(100).written_bytes, 0);
        assert_eq!(meter.take(164).written_bytes, 64);
    }
}
