//! The `wl_buffer`s of a stream whose buffers can be replaced while it runs.
//!
//! ```text
//!   begin_next ─▶ next ── created, all ─▶ switch ─▶ current ── next switch ─▶ retired ── released ─▶ destroyed
//!                   └─ refused ─▶ destroyed
//! ```
//! A buffer has an index in its set, and a number that no other buffer of the program has. The compositor's events have the number,
//! so that a late event of an earlier set is not taken for one of the current set.

use std::collections::BTreeMap;
use std::ops::Range;

use wayland_client::protocol::wl_buffer::WlBuffer;

/// The set that a released buffer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleasedBuffer {
    /// The current set, in which the buffer has this index.
    Current(usize),
    /// An earlier set. Its `wl_buffer` is destroyed now.
    Retired,
    /// No set has a buffer with this number.
    Unknown,
}

/// Buffers with consecutive numbers. A `wl_buffer` is missing until the compositor has created it.
#[derive(Debug)]
struct Set {
    first_number: usize,
    wl_buffers: Vec<Option<WlBuffer>>,
}

impl Set {
    fn index_of(&self, number: usize) -> Option<usize> {
        number
            .checked_sub(self.first_number)
            .filter(|index| *index < self.wl_buffers.len())
    }

    fn destroy(self) {
        for wl_buffer in self.wl_buffers.into_iter().flatten() {
            wl_buffer.destroy();
        }
    }
}

/// The current buffers of a stream, those that will replace them, and those that the compositor has not released yet.
#[derive(Debug)]
pub struct BufferSets {
    current: Set,
    next: Option<Set>,
    retired: BTreeMap<usize, WlBuffer>,
    next_number: usize,
}

impl BufferSets {
    /// Starts with these `wl_buffer`s, which were created with the numbers from 0 on.
    #[must_use]
    pub fn new(wl_buffers: Vec<WlBuffer>) -> Self {
        Self {
            next_number: wl_buffers.len(),
            current: Set {
                first_number: 0,
                wl_buffers: wl_buffers.into_iter().map(Some).collect(),
            },
            next: None,
            retired: BTreeMap::new(),
        }
    }

    /// Returns the number of buffers of the current set.
    #[must_use]
    pub fn count(&self) -> usize {
        self.current.wl_buffers.len()
    }

    /// Returns the `wl_buffer` at `index` of the current set.
    #[must_use]
    pub fn wl_buffer(&self, index: usize) -> Option<&WlBuffer> {
        self.current.wl_buffers.get(index)?.as_ref()
    }

    /// Returns the number of the buffer at `index` of the current set.
    #[must_use]
    pub fn number(&self, index: usize) -> usize {
        self.current.first_number.saturating_add(index)
    }

    /// Returns the index of the buffer with this number in the current set; `None` if it is in another set.
    #[must_use]
    pub fn index_of(&self, number: usize) -> Option<usize> {
        self.current.index_of(number)
    }

    /// Returns whether the next set is being created, or the compositor has not released all buffers of the earlier set.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.next.is_some() || !self.retired.is_empty()
    }

    /// Begins the next set, of `count` buffers. Returns their numbers, with which the caller requests the `wl_buffer`s. A next set
    /// that was begun before is destroyed.
    pub fn begin_next(&mut self, count: usize) -> Range<usize> {
        self.cancel_next();
        let first_number = self.next_number;
        self.next_number = first_number.saturating_add(count);
        self.next = Some(Set {
            first_number,
            wl_buffers: vec![None; count],
        });
        first_number..self.next_number
    }

    /// Destroys the next set.
    pub fn cancel_next(&mut self) {
        if let Some(next) = self.next.take() {
            next.destroy();
        }
    }

    /// Stores a `wl_buffer` that the compositor has created. Returns whether the next set is complete now. A `wl_buffer` of a set
    /// that was cancelled is destroyed.
    pub fn created(&mut self, number: usize, wl_buffer: WlBuffer) -> bool {
        let Some(next) = &mut self.next else {
            wl_buffer.destroy();
            return false;
        };
        let index = next.index_of(number);
        match index.and_then(|index| next.wl_buffers.get_mut(index)) {
            Some(place) => {
                if let Some(earlier) = place.replace(wl_buffer) {
                    earlier.destroy();
                }
            }
            None => {
                wl_buffer.destroy();
                return false;
            }
        }
        next.wl_buffers.iter().all(Option::is_some)
    }

    /// Cancels the next set if the buffer with this number, which the compositor could not import, is one of it. Returns whether
    /// it is.
    pub fn refused(&mut self, number: usize) -> bool {
        let next = self.next.as_ref();
        let is_next = next.is_some_and(|next| next.index_of(number).is_some());
        if is_next {
            self.cancel_next();
        }
        is_next
    }

    /// Makes the next set the current one. The buffers of the set before are destroyed: at once, or when the compositor releases
    /// them if it holds them according to `is_held`. Returns `false`, and changes nothing, if there is no complete next set.
    pub fn switch(&mut self, is_held: impl Fn(usize) -> bool) -> bool {
        let is_complete = |next: &mut Set| next.wl_buffers.iter().all(Option::is_some);
        let Some(next) = self.next.take_if(is_complete) else {
            return false;
        };
        let earlier = std::mem::replace(&mut self.current, next);
        for (index, wl_buffer) in earlier.wl_buffers.into_iter().enumerate() {
            match wl_buffer {
                Some(wl_buffer) if is_held(index) => {
                    let number = earlier.first_number.saturating_add(index);
                    self.retired.insert(number, wl_buffer);
                }
                Some(wl_buffer) => wl_buffer.destroy(),
                None => {}
            }
        }
        true
    }

    /// Records that the compositor has released the buffer with this number.
    pub fn released(&mut self, number: usize) -> ReleasedBuffer {
        if let Some(index) = self.index_of(number) {
            return ReleasedBuffer::Current(index);
        }
        match self.retired.remove(&number) {
            Some(wl_buffer) => {
                wl_buffer.destroy();
                ReleasedBuffer::Retired
            }
            None => ReleasedBuffer::Unknown,
        }
    }

    /// Destroys all `wl_buffer`s. The surface must not show any of them.
    pub fn destroy(mut self) {
        self.cancel_next();
        self.current.destroy();
        for wl_buffer in self.retired.into_values() {
            wl_buffer.destroy();
        }
    }
}
