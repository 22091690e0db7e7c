//! Copies rows from and to `wl_shm` pools, which clients may change or truncate during the copy.
#![allow(unsafe_code)]

use std::io;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::wayland::shm::{BufferAccessError, with_buffer_contents, with_buffer_contents_mut};

/// Copies `row_bytes` bytes of as many rows of a `wl_shm` buffer as `into` holds. The first row starts `offset` bytes after the
/// buffer's first byte, and each further row `stride` bytes after the previous one.
///
/// If the client truncated the pool, Smithay handles SIGBUS and disconnects the client, and this function returns an error.
///
/// # Errors
///
/// When the range exceeds the pool, or the pool cannot be read.
pub(super) fn read_shm(
    buffer: &WlBuffer,
    offset: usize,
    stride: usize,
    row_bytes: usize,
    into: &mut [u8],
) -> io::Result<()> {
    let copied = with_buffer_contents(buffer, |pool, length, data| {
        if pool.is_null() {
            return None;
        }
        let mut start = usize::try_from(data.offset).ok()?.checked_add(offset)?;
        for row in into.chunks_exact_mut(row_bytes.max(1)) {
            let end = start.checked_add(row.len())?;
            if end > length {
                return None;
            }
            // SAFETY: `pool` is valid for `length` bytes while this closure runs (contract of `with_buffer_contents`), the range
            // was checked against it, and `row` is our own memory, which cannot overlap a pool. No reference to the pool is made.
            unsafe { std::ptr::copy_nonoverlapping(pool.add(start), row.as_mut_ptr(), row.len()) };
            start = start.checked_add(stride)?;
        }
        Some(())
    });
    copy_result(copied)
}

/// Copies rows of `row_bytes` bytes from `from` to a `wl_shm` buffer. The first row starts at the buffer's first byte, and each
/// further row `stride` bytes after the previous one.
///
/// If the client truncated the pool, Smithay handles SIGBUS and disconnects the client, and this function returns an error.
///
/// # Errors
///
/// When the rows exceed the pool, or the pool cannot be written.
pub(super) fn write_shm(
    buffer: &WlBuffer,
    stride: usize,
    row_bytes: usize,
    from: &[u8],
) -> io::Result<()> {
    let copied = with_buffer_contents_mut(buffer, |pool, length, data| {
        if pool.is_null() {
            return None;
        }
        let mut start = usize::try_from(data.offset).ok()?;
        for row in from.chunks_exact(row_bytes.max(1)) {
            let end = start.checked_add(row.len())?;
            if end > length {
                return None;
            }
            // SAFETY: `pool` is valid for `length` bytes while this closure runs (contract of `with_buffer_contents_mut`), the
            // range was checked against it, and `row` is our own memory, which cannot overlap a pool. No reference to the pool
            // is made.
            unsafe { std::ptr::copy_nonoverlapping(row.as_ptr(), pool.add(start), row.len()) };
            start = start.checked_add(stride)?;
        }
        Some(())
    });
    copy_result(copied)
}

/// Converts the result of an access to a pool; `None` is a range that exceeds the pool.
fn copy_result(copied: Result<Option<()>, BufferAccessError>) -> io::Result<()> {
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
