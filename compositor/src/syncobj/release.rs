//! The point that gives a buffer back to its client.

use std::sync::Mutex;

use covalent_alloc::sync::{Fence, Point};

/// Signals a point when it is dropped: at once, or when the GPU has done reading.
#[derive(Debug)]
pub struct Release {
    point: Point,
    /// The last reading that may still be under way; earlier ones of the same GPU end before it.
    reading: Mutex<Option<Fence>>,
}

impl Release {
    /// Owes the client this point.
    pub fn new(point: Point) -> Self {
        Self {
            point,
            reading: Mutex::new(None),
        }
    }

    /// Notes that the GPU reads the buffer until a fence is signalled.
    pub fn read_until(&self, fence: Fence) {
        match self.reading.lock() {
            Ok(mut reading) => *reading = Some(fence),
            Err(poisoned) => *poisoned.into_inner() = Some(fence),
        }
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let reading = self.reading.get_mut().map_or(None, Option::take);
        let released = match reading {
            Some(fence) => self.point.set_fence(&fence),
            None => self.point.signal(),
        };
        // The card may be gone, and the client with it.
        if let Err(error) = released {
            tracing::warn!(%error, "a buffer was not given back to its client");
        }
    }
}
