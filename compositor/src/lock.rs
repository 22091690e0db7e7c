//! Who still reads a client's buffer: the client may draw into it again when the last lock is gone.
//!
//! It goes back by `wl_buffer.release`, or by a point on a timeline.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;

use crate::clock;
use crate::owed::OwedBuffer;
use crate::syncobj::Release;

/// The moment at which a buffer went back to its client; unknown until then.
#[derive(Clone, Debug, Default)]
pub struct ReleaseMark(Rc<Cell<Option<Duration>>>);

impl ReleaseMark {
    /// Returns the moment on `CLOCK_MONOTONIC`.
    pub fn get(&self) -> Option<Duration> {
        self.0.get()
    }
}

/// Keeps a buffer from its client; clones share, and the last one to go gives it back.
#[derive(Clone, Debug)]
pub struct BufferLock(Rc<Held>);

#[derive(Debug)]
struct Held {
    owed: OwedBuffer,
    mark: ReleaseMark,
}

impl BufferLock {
    /// Takes the buffer, which its client just committed.
    pub fn new(owed: OwedBuffer) -> Self {
        Self(Rc::new(Held {
            owed,
            mark: ReleaseMark::default(),
        }))
    }

    /// Returns the buffer.
    pub fn buffer(&self) -> &WlBuffer {
        self.0.owed.buffer()
    }

    /// Returns the point by which it goes back; `None` where `wl_buffer.release` tells.
    pub fn release(&self) -> Option<&Release> {
        self.0.owed.release()
    }

    /// Returns where the moment of release will be noted.
    pub fn mark(&self) -> ReleaseMark {
        self.0.mark.clone()
    }

    /// Tells whether both keep the same commit of the same buffer.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The buffer itself goes back after this.
        self.mark.0.set(Some(clock::now()));
    }
}
