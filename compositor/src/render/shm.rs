//! Reads and writes `wl_shm` buffers.

use std::io;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;

use crate::render::decode::ReadPlanes;
use crate::render::sys;

/// Read access to a `wl_shm` buffer, which has a single plane.
#[derive(Debug)]
pub struct ShmPlanes<'a> {
    buffer: &'a WlBuffer,
    stride: usize,
}

impl<'a> ShmPlanes<'a> {
    /// Creates read access to a buffer with a stride of `stride` bytes.
    pub fn new(buffer: &'a WlBuffer, stride: usize) -> Self {
        Self { buffer, stride }
    }
}

impl ReadPlanes for ShmPlanes<'_> {
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let row_bytes = into.len();
        self.read_rows(plane, offset, row_bytes, into)
    }

    /// One access to the pool copies all rows, because starting an access costs as much as copying a short row.
    fn read_rows(
        &mut self,
        plane: usize,
        offset: usize,
        row_bytes: usize,
        into: &mut [u8],
    ) -> io::Result<()> {
        if plane != 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        sys::read_shm(self.buffer, offset, self.stride, row_bytes, into)
    }

    fn stride(&self, _plane: usize) -> usize {
        self.stride
    }
}

/// Writes rows of `row_bytes` bytes to a `wl_shm` buffer with a stride of `stride` bytes, beginning with its first row.
///
/// # Errors
///
/// When the rows exceed the buffer's pool, or the client truncated the pool. The client is then disconnected.
pub fn write_rows(
    buffer: &WlBuffer,
    stride: usize,
    row_bytes: usize,
    rows: &[u8],
) -> io::Result<()> {
    sys::write_shm(buffer, stride, row_bytes, rows)
}
