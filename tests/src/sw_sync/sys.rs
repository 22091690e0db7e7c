//! The ioctls of sw_sync, and a mapping through which a test writes to a dma-buf as a device would.
#![allow(
    unsafe_code,
    reason = "ioctls of a driver, and a mapping without guards"
)]

use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::io;
use rustix::ioctl::{self, Setter, Updater};
use rustix::mm::{self, MapFlags, ProtFlags};

/// `struct sw_sync_create_fence_data`.
#[repr(C)]
struct CreateFence {
    value: u32,
    name: [u8; 32],
    fence: RawFd,
}

const CREATE_FENCE: ioctl::Opcode = ioctl::opcode::read_write::<CreateFence>(b'W', 0);
const INCREMENT: ioctl::Opcode = ioctl::opcode::write::<u32>(b'W', 1);

/// Creates a fence that is signalled when the timeline's counter reaches `value`.
///
/// # References
/// Linux, `drivers/dma-buf/sw_sync.c`, SW_SYNC_IOC_CREATE_FENCE.
pub(super) fn create_fence(timeline: impl AsFd, value: u32) -> io::Result<OwnedFd> {
    let mut request = CreateFence {
        value,
        name: [0; 32],
        fence: -1,
    };
    // SAFETY: the request has the size in its opcode and contains no pointers.
    unsafe {
        ioctl::ioctl(
            timeline.as_fd(),
            Updater::<CREATE_FENCE, CreateFence>::new(&mut request),
        )
    }?;
    // SAFETY: the ioctl has just created this fd, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(request.fence) })
}

/// Advances the timeline's counter.
///
/// # References
/// Linux, `drivers/dma-buf/sw_sync.c`, SW_SYNC_IOC_INC.
pub(super) fn increment(timeline: impl AsFd, by: u32) -> io::Result<()> {
    // SAFETY: the ioctl reads one u32, which is the request.
    unsafe { ioctl::ioctl(timeline.as_fd(), Setter::<INCREMENT, u32>::new(by)) }
}

/// A mapping of a dma-buf without DMA_BUF_IOCTL_SYNC, through which a test writes as a device does. The guards for CPU access
/// would wait for the fence that the test signals after the write.
#[derive(Debug)]
pub struct DeviceView {
    start: NonNull<AtomicU8>,
    bytes: usize,
}

// SAFETY: all accesses to the bytes are atomic, and only this value owns the mapping until it is dropped.
unsafe impl Send for DeviceView {}
// SAFETY: all accesses to the bytes are atomic, and only this value owns the mapping until it is dropped.
unsafe impl Sync for DeviceView {}

impl Drop for DeviceView {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` with this length, and no reference into it outlives this value.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

impl DeviceView {
    /// Maps the first bytes of a dma-buf.
    ///
    /// # Errors
    /// The kernel's error.
    pub fn map(dmabuf: impl AsFd, bytes: usize) -> io::Result<Self> {
        // SAFETY: the kernel chooses the address of the new mapping, so it replaces no memory of this program.
        let start = unsafe {
            mm::mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                dmabuf,
                0,
            )
        }?;
        Ok(Self {
            start: NonNull::new(start.cast()).ok_or(io::Errno::NOMEM)?,
            bytes,
        })
    }

    /// Writes `bytes` from `offset` on. Bytes beyond the end of the mapping are left out.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        // SAFETY: the mapping has this many bytes, which only atomic accesses touch.
        let all = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) };
        for (place, byte) in all.iter().skip(offset).zip(bytes) {
            place.store(*byte, Ordering::Relaxed);
        }
    }
}
