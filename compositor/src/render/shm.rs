//! Reading `wl_shm` buffers.

use std::io;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;

use crate::render::decode::ReadPlanes;
use crate::render::sys;

/// The single plane of a `wl_shm` buffer.
#[derive(Debug)]
pub struct ShmPlanes<'a> {
    buffer: &'a WlBuffer,
    stride: usize,
}

impl<'a> ShmPlanes<'a> {
    /// Creates the plane of a buffer with a stride of `stride` bytes a row.
    pub fn new(buffer: &'a WlBuffer, stride: usize) -> Self {
        Self { buffer, stride }
    }
}

impl ReadPlanes for ShmPlanes<'_> {
    fn read(&mut self, plane: usize, offset: usize, into: &mut [u8]) -> io::Result<()> {
        let row_bytes = into.len();
        self.read_rows(plane, offset, row_bytes, into)
    }

    /// Access to a pool costs as much as the copy of a short row, so all rows are copied by one.
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
