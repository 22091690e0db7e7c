//! Copies from `wl_shm` pools, which clients may change or truncate during the copy.
#![allow(unsafe_code)]

use std::io;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::wayland::shm::{BufferAccessError, with_buffer_contents};

/// Copies bytes of a `wl_shm` buffer, starting `offset` bytes after the buffer's first byte.
///
/// If the client truncated the pool, Smithay handles SIGBUS and disconnects the client, and this function returns an error.
///
/// # Errors
///
/// When the range exceeds the pool, or the pool cannot be read.
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
            "the buffer exceeds its wl_shm pool",
        )),
        Err(error @ BufferAccessError::BadMap) => {
            Err(io::Error::new(io::ErrorKind::BrokenPipe, error))
        }
        Err(error) => Err(io::Error::other(error)),
    }
}
