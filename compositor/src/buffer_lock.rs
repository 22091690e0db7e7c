//! A lock on a client's buffer while the compositor reads it, like wlroots' `wlr_buffer_lock`.
//!
//! When the last lock is dropped, the buffer is released: by `wl_buffer.release`, or by signalling the release point.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;

use crate::clock;
use crate::commits::CommittedBuffer;
use crate::syncobj::ReleasePoint;

/// The time at which a buffer was released; unset while the buffer is locked.
#[derive(Clone, Debug, Default)]
pub struct ReleaseTime(Rc<Cell<Option<Duration>>>);

impl ReleaseTime {
    /// Returns the time on `CLOCK_MONOTONIC`; `None` while the buffer is not released.
    pub fn get(&self) -> Option<Duration> {
        self.0.get()
    }
}

/// A lock on a committed buffer. Clones share the lock, and dropping the last clone releases the buffer.
#[derive(Clone, Debug)]
pub struct BufferLock(Rc<LockedBuffer>);

/// What all clones of a lock share. Dropping it releases the buffer.
#[derive(Debug)]
struct LockedBuffer {
    buffer: CommittedBuffer,
    release_time: ReleaseTime,
}

impl BufferLock {
    /// Locks a buffer that its client has committed.
    pub fn new(buffer: CommittedBuffer) -> Self {
        Self(Rc::new(LockedBuffer {
            buffer,
            release_time: ReleaseTime::default(),
        }))
    }

    /// Returns the locked `wl_buffer`.
    pub fn buffer(&self) -> &WlBuffer {
        self.0.buffer.buffer()
    }

    /// Returns the release point; `None` for a buffer that is released by `wl_buffer.release`.
    pub fn release_point(&self) -> Option<&ReleasePoint> {
        self.0.buffer.release_point()
    }

    /// Returns a handle to the release time, which is set when the last lock is dropped.
    pub fn release_time(&self) -> ReleaseTime {
        self.0.release_time.clone()
    }

    /// Returns whether both locks are of the same commit of the same buffer.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

impl Drop for LockedBuffer {
    fn drop(&mut self) {
        // Rust drops the field `buffer` after this function returns, which releases the buffer.
        self.release_time.0.set(Some(clock::now()));
    }
}
