//! Mappings of dma-bufs, and the copies in and out of them.
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

/// Which end of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Start,
    End,
}

/// A buffer in this process's address space. Each dma-buf is mapped whole, since an offset need not be page-aligned.
#[derive(Debug)]
pub struct Mapping {
    buffer: Buffer,
    areas: Vec<Area>,
}

#[derive(Debug)]
struct Area {
    start: NonNull<c_void>,
    length: usize,
    writable: bool,
}

// SAFETY: an area is an address range that this value alone unmaps; nothing in it is bound to a thread. Accesses race
// with devices anyway, which is why they are copies of raw memory and never references.
unsafe impl Send for Area {}
// SAFETY: as for Send; concurrent copies of the same bytes give unspecified bytes, and no reference is ever made.
unsafe impl Sync for Area {}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `Mapping::new` with this length and no pointer into it leaves this module.
        if let Err(error) = unsafe { mm::munmap(self.start.as_ptr(), self.length) } {
            tracing::error!(%error, "munmap of a dma-buf failed");
        }
    }
}

impl Mapping {
    pub(super) fn new(buffer: Buffer) -> Result<Self, AccessError> {
        let mut areas = Vec::with_capacity(buffer.memory_count());
        for (memory, bytes) in buffer.layout().memory_sizes().iter().enumerate() {
            let failed = |source| AccessError::Map {
                memory,
                origin: buffer.source_name().to_owned(),
                bytes: *bytes,
                source,
            };
            let length = usize::try_from(*bytes).map_err(|_| failed(Errno::OVERFLOW))?;
            let fd = buffer
                .memory_fd(memory)
                .ok_or_else(|| failed(Errno::BADF))?;
            areas.push(map_shared(fd, length).map_err(failed)?);
        }
        Ok(Self { buffer, areas })
    }

    /// The buffer that is mapped.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Begins the CPU's access; it ends when the guard is dropped.
    ///
    /// The exporter makes device and CPU caches agree, and waits for implicit fences. Explicit fences are not covered:
    /// wait for those before. [`Mapping::try_access`] asks for both, and never sleeps. Whoever shares a buffer can put a fence on it:
    /// a buffer from a process that is not trusted is accessed by [`Mapping::try_access`] alone.
    ///
    /// # Errors
    /// [`AccessError::Sync`]; [`AccessError::ReadOnly`] when writing was asked of an fd that is for reading alone.
    pub fn access(&self, access: CpuAccess) -> Result<MapGuard<'_>, AccessError> {
        if access != CpuAccess::Read && self.areas.iter().any(|area| !area.writable) {
            return Err(AccessError::ReadOnly {
                origin: self.buffer.source_name().to_owned(),
            });
        }
        MapGuard::begin(self, access)
    }

    /// Zeroes all memory, what lies between and behind the planes included.
    pub(super) fn zero(&self) -> Result<(), AccessError> {
        let _guard = self.access(CpuAccess::Write)?;
        for area in &self.areas {
            // SAFETY: the area is mapped with this length and writable, as `access` checked. A device that writes meanwhile
            // leaves its bytes, which are bytes.
            unsafe { ptr::write_bytes(area.start.as_ptr().cast::<u8>(), 0, area.length) };
            traffic::count_written(area.length);
        }
        Ok(())
    }

    pub(super) fn sync(&self, step: Step, access: CpuAccess) -> Result<(), AccessError> {
        let direction = match access {
            CpuAccess::Read => SYNC_READ,
            CpuAccess::Write => SYNC_WRITE,
            CpuAccess::ReadWrite => SYNC_READ | SYNC_WRITE,
        };
        let flags = if step == Step::End {
            direction | SYNC_END
        } else {
            direction
        };
        let mut first_failure = Ok(());
        for memory in 0..self.buffer.memory_count() {
            let Some(fd) = self.buffer.memory_fd(memory) else {
                continue;
            };
            if let Err(source) = sync_restarting(fd, flags) {
                let step_name = if step == Step::Start { "start" } else { "end" };
                let origin = self.buffer.source_name().to_owned();
                let failure = AccessError::Sync {
                    step: step_name,
                    origin,
                    source,
                };
                if step == Step::Start {
                    // What was begun is ended again, so that every start has its end.
                    for begun in (0..memory).filter_map(|begun| self.buffer.memory_fd(begun)) {
                        let _ = sync_restarting(begun, direction | SYNC_END);
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
        // SAFETY: `locate` checked that `into.len()` bytes from there lie inside the mapping, which lives as long as self;
        // `into` is ordinary memory that cannot overlap it. A device may write meanwhile: the bytes are then unspecified,
        // and any byte is a valid u8.
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
        // SAFETY: as in `copy_out`; a guard for writing is given only where every area is writable.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), into, from.len()) };
        Ok(())
    }

    /// The address of a plane's byte, with `length` bytes after it inside the plane's memory.
    fn locate(&self, plane: usize, offset: u64, length: usize) -> Result<*mut u8, AccessError> {
        let planes = self.buffer.layout().planes();
        let size = planes.get(plane).map_or(0, |place| place.size_bytes);
        let outside = || AccessError::OutOfBounds {
            plane,
            offset,
            length,
            size,
        };
        let place = planes.get(plane).ok_or_else(outside)?;
        let area = self.areas.get(place.memory).ok_or_else(outside)?;
        let end = offset
            .checked_add(u64::try_from(length).map_err(|_| outside())?)
            .ok_or_else(outside)?;
        if end > place.size_bytes {
            return Err(outside());
        }
        let start = place.offset_bytes.checked_add(offset).ok_or_else(outside)?;
        let start = usize::try_from(start).map_err(|_| outside())?;
        if start
            .checked_add(length)
            .is_none_or(|end| end > area.length)
        {
            return Err(outside());
        }
        // SAFETY: `start` is inside the mapping of `area.length` bytes, as just checked.
        Ok(unsafe { area.start.as_ptr().cast::<u8>().add(start) })
    }
}

fn map_shared(fd: BorrowedFd<'_>, length: usize) -> io::Result<Area> {
    let map = |protection| {
        // SAFETY: a new mapping at an address of the kernel's choice changes no memory of this program. The fd is a
        // dma-buf, whose size cannot change, so that access inside `length` raises no SIGBUS.
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
    // An exporter may give a read-only fd (V4L2's EXPBUF with flags 0); reading must then still work.
    let (start, writable) = match map(ProtFlags::READ | ProtFlags::WRITE) {
        Ok(start) => (start, true),
        Err(Errno::ACCESS) => (map(ProtFlags::READ)?, false),
        Err(error) => return Err(error),
    };
    let start = NonNull::new(start).ok_or(Errno::NOMEM)?;
    Ok(Area {
        start,
        length,
        writable,
    })
}

/// The kernel asks for a restart after a signal or while it cannot wait.
fn sync_restarting(fd: BorrowedFd<'_>, flags: u64) -> io::Result<()> {
    loop {
        // SAFETY: the request reads one u64, as `struct dma_buf_sync` is, and the fd is a dma-buf.
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
    fn structure_and_opcode_are_the_headers_of_this_target() {
        // `struct dma_buf_sync` is one 64-bit number.
        let ours = [
            ("size dma_buf_sync", size_of::<u64>() as u64),
            ("request DMA_BUF_IOCTL_SYNC", super::SYNC.into()),
        ];
        crate::abi::hold(&["dma_buf_sync", "DMA_BUF_IOCTL_SYNC"], &ours);
    }
}
