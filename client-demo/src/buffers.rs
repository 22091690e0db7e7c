//! Who holds each of the buffers of a stream.
//!
//! ```text
//!            hand over             take back             show
//!   Client ────────────▶ Producer ───────────▶ Client ────────▶ Compositor
//!      ▲                                                            │
//!      └────────────────────────── released ────────────────────────┘
//! ```
//! A buffer that the compositor reads is never written: every other way through this picture is an error.

/// Who may touch a buffer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process: it may hand the buffer over or show it.
    Client,
    /// Whoever fills it: a camera's queue, or the code that draws.
    Producer,
    /// The compositor, until it releases the buffer.
    Compositor,
}

/// A hand-over that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// No such buffer.
    #[error("buffer {index} does not exist: the stream has {count}")]
    Index {
        /// The index asked for.
        index: usize,
        /// How many buffers there are.
        count: usize,
    },
    /// Somebody else holds it.
    #[error("buffer {index} cannot go from {from:?} to {to:?}: {actual:?} holds it")]
    Held {
        /// The buffer.
        index: usize,
        /// Who would have to hold it.
        from: Holder,
        /// Who was to get it.
        to: Holder,
        /// Who does hold it.
        actual: Holder,
    },
}

/// The holders of all buffers of one stream, by index.
#[derive(Clone, Debug)]
pub struct Buffers {
    holders: Vec<Holder>,
}

impl Buffers {
    /// Makes `count` buffers that this process holds.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            holders: vec![Holder::Client; count],
        }
    }

    /// Hands a buffer to whoever fills it.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless this process holds it.
    pub fn produce(&mut self, index: usize) -> Result<(), HandOverError> {
        self.hand_over(index, Holder::Client, Holder::Producer)
    }

    /// Takes a filled buffer back.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless the producer holds it.
    pub fn produced(&mut self, index: usize) -> Result<(), HandOverError> {
        self.hand_over(index, Holder::Producer, Holder::Client)
    }

    /// Gives a buffer to the compositor.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless this process holds it.
    pub fn show(&mut self, index: usize) -> Result<(), HandOverError> {
        self.hand_over(index, Holder::Client, Holder::Compositor)
    }

    /// Takes a buffer back that the compositor released.
    ///
    /// # Errors
    ///
    /// [`HandOverError`] unless the compositor holds it: a release that was never owed must not free a buffer.
    pub fn released(&mut self, index: usize) -> Result<(), HandOverError> {
        self.hand_over(index, Holder::Compositor, Holder::Client)
    }

    /// Returns the first buffer that this process holds.
    #[must_use]
    pub fn free(&self) -> Option<usize> {
        self.holders
            .iter()
            .position(|holder| *holder == Holder::Client)
    }

    /// Counts the buffers that `holder` has.
    #[must_use]
    pub fn held_by(&self, holder: Holder) -> usize {
        self.holders.iter().filter(|held| **held == holder).count()
    }

    fn hand_over(&mut self, index: usize, from: Holder, to: Holder) -> Result<(), HandOverError> {
        let count = self.holders.len();
        let holder = self
            .holders
            .get_mut(index)
            .ok_or(HandOverError::Index { index, count })?;
        if *holder != from {
            return Err(HandOverError::Held {
                index,
                from,
                to,
                actual: *holder,
            });
        }
        *holder = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffer_goes_round_and_round() {
        let mut buffers = Buffers::new(2);
        for _ in 0..3 {
            buffers.produce(1).unwrap();
            buffers.produced(1).unwrap();
            buffers.show(1).unwrap();
            assert_eq!(buffers.held_by(Holder::Compositor), 1);
            buffers.released(1).unwrap();
        }
        assert_eq!(buffers.held_by(Holder::Client), 2);
    }

    #[test]
    fn buffer_on_display_cannot_be_produced_into() {
        let mut buffers = Buffers::new(1);
        buffers.show(0).unwrap();
        assert_eq!(
            buffers.produce(0),
            Err(HandOverError::Held {
                index: 0,
                from: Holder::Client,
                to: Holder::Producer,
                actual: Holder::Compositor,
            })
        );
        assert_eq!(buffers.free(), None);
    }

    #[test]
    fn buffer_queued_twice_is_an_error_and_changes_nothing() {
        let mut buffers = Buffers::new(1);
        buffers.produce(0).unwrap();
        assert!(buffers.produce(0).is_err());
        assert!(buffers.show(0).is_err());
        assert_eq!(buffers.held_by(Holder::Producer), 1);
        buffers.produced(0).unwrap();
    }

    #[test]
    fn release_that_was_not_owed_frees_nothing() {
        let mut buffers = Buffers::new(1);
        buffers.produce(0).unwrap();
        assert!(buffers.released(0).is_err());
        assert_eq!(buffers.held_by(Holder::Producer), 1);
        assert_eq!(
            buffers.released(7),
            Err(HandOverError::Index { index: 7, count: 1 })
        );
    }
}
