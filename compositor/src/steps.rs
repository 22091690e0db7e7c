//! What the compositor does to clients' buffers, told to whoever traces.

use std::time::Duration;

use covalent_alloc::trace::{Action, Place, Step};

/// The compositor's own track.
pub const COMPOSITOR: &str = "covalent-compositor";

/// A client's buffer in one of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The inode of its first dma-buf.
    pub buffer: u64,
    /// How often it was committed before.
    pub round: u64,
}

impl Traced {
    /// Tells that something happened to it on `track`.
    pub fn tell(
        self,
        track: &str,
        action: Action,
        place: Place,
        (from, until): (Duration, Duration),
    ) {
        let step = Step {
            track,
            action,
            buffer: self.buffer,
            round: self.round,
            place,
            from,
            until,
        };
        step.emit();
    }
}
