//! Mappings of dma-bufs, and copies from and to them.
#![allow(
    unsafe_code,
    reason = "mmap, the sync ioctl and copies from memory that devices write"
)]

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};

use rustix::io::{self, Errno};
use rustix::ioctl::{self, Setter};
use rustix::mm::{self, MapFlags, ProtFlags};

use super::{AccessError, Buffer, CpuAccess, MapGuard, traffic};

/// `DMA_BUF_IOCTL_SYNC`: begins or ends CPU access.
///
/// # References
/// `linux/dma-buf.h`; kernel documentation, "CPU Access to DMA Buffer Objects".
const SYNC: ioctl::Opcode = ioctl::opcode::write::<u64>(b'b', 0);
const SYNC_READ: u64 = 1;
const SYNC_WRITE: u64 = 2;
const SYNC_END: u64 = 4;

/// Whether a CPU access begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SyncStep {
    Start,
    End,
}

/// A buffer that is mapped into this process. Each dma-buf is mapped as a whole, since the offset of a plane need not be
/// page-aligned.
#[derive(Debug)]
pub struct Mapping {
    buffer: Buffer,
    areas: Vec<MappedArea>,
}

#[derive(Debug)]
struct MappedArea {
    start: NonNull<c_void>,
    length: usize,
    writable: bool,
}

// SAFETY: an area is an address range that only this value unmaps, and that any thread may access. Devices can write to the
// memory during any access, so accesses are copies of raw memory and never references.
unsafe impl Send for MappedArea {}
// SAFETY: any thread may access the address range. Concurrent copies of the same bytes give unspecified bytes, and no reference
// to them is ever created.
unsafe impl Sync for MappedArea {}

impl Drop for MappedArea {
    fn drop(&mut self) {
        // SAFETY: `Mapping::new` mapped the range with this length, and no pointer into it leaves this module.
        if let Err(error) = unsafe { mm::munmap(self.start.as_ptr(), self.length) } {
            tracing::error!(%error, "munmap of a dma-buf failed");
        }
    }
}

impl Mapping {
    pub(super) fn new(buffer: Buffer) -> Result<Self, AccessError> {
        let mut areas = Vec::with_capacity(buffer.dmabuf_count());
        for (memory, bytes) in buffer.layout().memory_sizes().iter().enumerate() {
            let failed = |source: Errno| AccessError::Map {
                memory,
                origin: buffer.source_name().to_owned(),
                bytes: *bytes,
                source: source.into(),
            };
            let length = usize::try_from(*bytes).map_err(|_| failed(Errno::OVERFLOW))?;
            let fd = buffer
                .dmabuf_fd(memory)
                .ok_or_else(|| failed(Errno::BADF))?;
            areas.push(map_shared(fd, length).map_err(failed)?);
        }
        Ok(Self { buffer, areas })
    }

    /// Returns the mapped buffer.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Begins a CPU access, which ends when the guard is dropped.
    ///
    /// The exporter makes the caches of device and CPU coherent, and the call blocks until the implicit fences of the buffer are
    /// signalled. The caller must wait for explicit fences before. [`Mapping::try_access`] checks both kinds of fences and does
    /// not wait for those that it finds. Any process that has the buffer can add a fence to it, so a buffer from an untrusted
    /// process must be accessed only by [`Mapping::try_access`].
    ///
    /// # Errors
    /// [`AccessError::Sync`]; [`AccessError::ReadOnly`] for a write if a file descriptor is read-only.
    ///
    /// # References
    /// `linux/dma-buf.h`, DMA_BUF_IOCTL_SYNC.
    pub fn access(&self, access: CpuAccess) -> Result<MapGuard<'_>, AccessError> {
        if access != CpuAccess::Read && self.areas.iter().any(|area| !area.writable) {
            return Err(AccessError::ReadOnly {
                origin: self.buffer.source_name().to_owned(),
            });
        }
        MapGuard::begin(self, access)
    }

    /// Zeroes all dma-bufs of the buffer, including the bytes between and after the planes.
    pub(super) fn zero(&self) -> Result<(), AccessError> {
        let _guard = self.access(CpuAccess::Write)?;
        for area in &self.areas {
            // SAFETY: the area is mapped with this length, and `access` has checked that it is writable. A device may write at
            // the same time; every byte value is valid.
            unsafe { ptr::write_bytes(area.start.as_ptr().cast::<u8>(), 0, area.length) };
            traffic::count_written(area.length);
        }
        Ok(())
    }

    /// Calls DMA_BUF_IOCTL_SYNC for every dma-buf of the buffer. Returns the first error, after all calls.
    pub(super) fn sync(&self, step: SyncStep, access: CpuAccess) -> Result<(), AccessError> {
        let direction = match access {
            CpuAccess::Read => SYNC_READ,
            CpuAccess::Write => SYNC_WRITE,
            CpuAccess::ReadWrite => SYNC_READ | SYNC_WRITE,
        };
        let flags = if step == SyncStep::End {
            direction | SYNC_END
        } else {
            direction
        };
        let mut first_failure = Ok(());
        for memory in 0..self.buffer.dmabuf_count() {
            let Some(fd) = self.buffer.dmabuf_fd(memory) else {
                continue;
            };
            if let Err(source) = sync_with_retry(fd, flags) {
                let step_name = if step == SyncStep::Start {
                    "start"
                } else {
                    "end"
                };
                let origin = self.buffer.source_name().to_owned();
                let failure = AccessError::Sync {
                    step: step_name,
                    origin,
                    source: source.into(),
                };
                if step == SyncStep::Start {
                    // The accesses that have already begun on other dma-bufs of the buffer are ended, so that every SYNC_START
                    // has a SYNC_END.
                    for started in (0..memory).filter_map(|index| self.buffer.dmabuf_fd(index)) {
                        let _ = sync_with_retry(started, direction | SYNC_END);
                    }
                    return Err(failure);
                }
                first_failure = first_failure.and(Err(failure));
            }
        }
        first_failure
    }

    pub(super) fn copy_out(
        &self,
        plane: usize,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), AccessError> {
        let from = self.locate(plane, offset, into.len())?;
        // SAFETY: `locate` has checked that `into.len()` bytes from there are inside the mapping, which lives as long as self.
        // `into` is other memory, which cannot overlap the mapping. A device may write at the same time: the bytes are then
        // unspecified, and any byte is a valid u8.
        unsafe { ptr::copy_nonoverlapping(from, into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    pub(super) fn copy_in(
        &self,
        plane: usize,
        offset: u64,
        from: &[u8],
    ) -> Result<(), AccessError> {
        let into = self.locate(plane, offset, from.len())?;
        // SAFETY: `locate` has checked that `from.len()` bytes from there are inside the mapping, which lives as long as self,
        // and `from` is other memory. A guard for writing exists only if every area is writable.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        Ok(())
    }

    /// Returns the address of a byte of a plane, after a check that `length` bytes from there are inside the plane and the
    /// mapping.
    fn locate(&self, plane: usize, offset: u64, length: usize) -> Result<*mut u8, AccessError> {
        let planes = self.buffer.layout().planes();
        let size = planes.get(plane).map_or(0, |place| place.size_bytes);
        let outside = || AccessError::OutOfBounds {
            plane,
            offset,
            length,
            size,
        };
        let plane_layout = planes.get(plane).ok_or_else(outside)?;
        let area = self.areas.get(plane_layout.memory).ok_or_else(outside)?;
        let end = offset
            .checked_add(u64::try_from(length).map_err(|_| outside())?)
            .ok_or_else(outside)?;
        if end > plane_layout.size_bytes {
            return Err(outside());
        }
        let start = plane_layout
            .offset_bytes
            .checked_add(offset)
            .ok_or_else(outside)?;
        let start = usize::try_from(start).map_err(|_| outside())?;
        if start
            .checked_add(length)
            .is_none_or(|end| end > area.length)
        {
            return Err(outside());
        }
        // SAFETY: `start` is inside the mapping of `area.length` bytes, as checked above.
        Ok(unsafe { area.start.as_ptr().cast::<u8>().add(start) })
    }
}

fn map_shared(fd: BorrowedFd<'_>, length: usize) -> io::Result<MappedArea> {
    let map = |protection| {
        // SAFETY: a new mapping at an address that the kernel chooses changes no memory of this program. The file descriptor is a
        // dma-buf, whose size cannot change, so an access within `length` does not raise SIGBUS.
        unsafe {
            mm::mmap(
                ptr::null_mut(),
                length,
                protection,
                MapFlags::SHARED,
                fd.as_fd(),
                0,
            )
        }
    };
    // A file descriptor can be read-only, like that of VIDIOC_EXPBUF without O_RDWR. Such a file descriptor is mapped for reading
    // only.
    let (start, writable) = match map(ProtFlags::READ | ProtFlags::WRITE) {
        Ok(start) => (start, true),
        Err(Errno::ACCESS) => (map(ProtFlags::READ)?, false),
        Err(error) => return Err(error),
    };
    let start = NonNull::new(start).ok_or(Errno::NOMEM)?;
    Ok(MappedArea {
        start,
        length,
        writable,
    })
}

/// Calls DMA_BUF_IOCTL_SYNC again as long as it returns EINTR or EAGAIN, as the kernel documentation requires.
fn sync_with_retry(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    loop {
        // SAFETY: the ioctl reads one u64, which is `struct dma_buf_sync`, and the file descriptor is a dma-buf.
        match unsafe { ioctl::ioctl(fd, Setter::<SYNC, u64>::new(flags)) } {
            Err(Errno::INTR | Errno::AGAIN) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm"))]
    #[test]
    fn structure_and_opcode_equal_the_headers_of_this_target() {
        // `u64` is used for `struct dma_buf_sync`, which consists of one 64-bit number.
        let actual = [
            ("size dma_buf_sync", size_of::<u64>() as u64),
            ("request DMA_BUF_IOCTL_SYNC", super::SYNC.into()),
        ];
        crate::abi::assert_equals_headers(&["dma_buf_sync", "DMA_BUF_IOCTL_SYNC"], &actual);
    }
}
