//! Copies out of client memory that may change, or vanish, while it is read: the one place here that dereferences a pointer.
#![allow(unsafe_code)]

use std::io;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::wayland::shm::{BufferAccessError, with_buffer_contents};

/// Copies bytes of a `wl_shm` buffer's pool, from `offset` behind the buffer's first byte.
///
/// A pool that its client cut short does not bring a signal: the client is disconnected, and this is an error.
///
/// # Errors
///
/// When the bytes lie outside of the pool, or the pool cannot be read.
pub(super) fn read_shm(buffer: &WlBuffer, offset: usize, into: &mut [u8]) -> io::Result<()> {
    let copied = with_buffer_contents(buffer, |pool, length, data| {
        let start = usize::try_from(data.offset).ok()?.checked_add(offset)?;
        let end = start.checked_add(into.len())?;
        if pool.is_null() || end > length {
            return None;
        }
        // SAFETY: `pool` is valid for `length` bytes while this closure runs (contract of `with_buffer_contents`), the range
        // was checked against it, and `into` is our own memory, which cannot overlap a pool. No reference to the pool is made.
        unsafe { std::ptr::copy_nonoverlapping(pool.add(start), into.as_mut_ptr(), into.len()) };
        Some(())
    });
    match copied {
        Ok(Some(())) => Ok(()),
        Ok(None) => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the buffer lies outside of its wl_shm pool",
        )),
        Err(error @ BufferAccessError::BadMap) => {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, error))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
