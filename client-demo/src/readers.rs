//! Counts the readers of a camera's buffer besides the display. The buffer is queued in the camera again after the last reader
//! has finished.

use std::collections::BTreeSet;

/// The number of readers of each buffer, by index.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    counts: Vec<u32>,
    /// The buffers that the display has released and that a reader still reads.
    released: BTreeSet<usize>,
}

impl Readers {
    /// Counts one more reader of the buffer at `index`.
    pub fn begin(&mut self, index: usize) {
        if self.counts.len() <= index {
            self.counts.resize(index.saturating_add(1), 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
    }

    /// Returns whether the buffer at `index`, which the display has released, still has a reader. If it does, [`end`](Self::end)
    /// later returns `true` for the last reader.
    pub fn holds(&mut self, index: usize) -> bool {
        let is_read = self.counts.get(index).is_some_and(|count| *count > 0);
        if is_read {
            self.released.insert(index);
        }
        is_read
    }

    /// Counts one reader less. Returns `true` if it was the last reader and the display has released the buffer; the caller then
    /// queues the buffer in the camera.
    #[must_use]
    pub fn end(&mut self, index: usize) -> bool {
        let Some(count) = self.counts.get_mut(index) else {
            return false;
        };
        *count = count.saturating_sub(1);
        *count == 0 && self.released.remove(&index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_waits_for_its_last_reader_and_not_for_those_of_others() {
        let mut readers = Readers::default();
        assert!(!readers.holds(3), "nobody reads it");
        readers.begin(3);
        readers.begin(3);
        readers.begin(1);
        assert!(readers.holds(3));
        assert!(!readers.end(3));
        assert!(readers.end(3));
        assert!(!readers.end(3), "it was queued");
        // The reader finishes before the display releases the buffer.
        assert!(!readers.end(1));
        assert!(!readers.holds(1));
        assert!(!readers.end(9), "there is no such buffer");
    }
}
