//! The fence ioctls of vgem, and a mapping of a dma-buf that is accessed without DMA_BUF_IOCTL_SYNC.
#![allow(
    unsafe_code,
    reason = "ioctls of a driver, and a mapping without access guards"
)]

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io;
use rustix::ioctl::{self, Setter, Updater};
use rustix::mm::{self, MapFlags, ProtFlags};

/// `struct drm_vgem_fence_attach`.
#[repr(C)]
struct FenceAttach {
    handle: u32,
    flags: u32,
    out_fence: u32,
    pad: u32,
}

/// `struct drm_vgem_fence_signal`.
#[repr(C)]
#[derive(Clone, Copy)]
struct FenceSignal {
    fence: u32,
    flags: u32,
}

const FENCE_ATTACH: ioctl::Opcode = ioctl::opcode::read_write::<FenceAttach>(b'd', 0x41);
const FENCE_SIGNAL: ioctl::Opcode = ioctl::opcode::write::<FenceSignal>(b'd', 0x42);

/// Adds a fence of vgem to the reservation object of a buffer, as the fence of a writer or a reader. Returns the number of the
/// fence. vgem signals the fence after ten seconds at the latest.
///
/// # Errors
/// The kernel's error.
///
/// # References
/// `drm/vgem_drm.h`, DRM_IOCTL_VGEM_FENCE_ATTACH.
pub fn vgem_attach(card: BorrowedFd<'_>, handle: u32, writes: bool) -> io::Result<u32> {
    let mut request = FenceAttach {
        handle,
        flags: u32::from(writes),
        out_fence: 0,
        pad: 0,
    };
    // SAFETY: the request has the size in its opcode and contains no pointers.
    unsafe {
        ioctl::ioctl(
            card,
            Updater::<FENCE_ATTACH, FenceAttach>::new(&mut request),
        )
    }?;
    Ok(request.out_fence)
}

/// Signals a fence that [`vgem_attach`] added.
///
/// # Errors
/// The kernel's error.
///
/// # References
/// `drm/vgem_drm.h`, DRM_IOCTL_VGEM_FENCE_SIGNAL.
pub fn vgem_signal(card: BorrowedFd<'_>, fence: u32) -> io::Result<()> {
    let request = FenceSignal { fence, flags: 0 };
    // SAFETY: the request has the size in its opcode and contains no pointers.
    unsafe { ioctl::ioctl(card, Setter::<FENCE_SIGNAL, FenceSignal>::new(request)) }
}

/// The first 32-bit words of a dma-buf, mapped without access guards. A simulated device accesses the dma-buf in this way.
#[derive(Debug)]
pub struct Pixels {
    start: std::ptr::NonNull<AtomicU32>,
    words: usize,
}

// SAFETY: all accesses to the words are atomic, and this value owns the mapping until it is dropped.
unsafe impl Send for Pixels {}
// SAFETY: all accesses to the words are atomic, and this value owns the mapping until it is dropped.
unsafe impl Sync for Pixels {}

impl Drop for Pixels {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `map` with this length, and no reference into it outlives this value.
        let _ = unsafe { mm::munmap(self.start.as_ptr().cast(), self.words * 4) };
    }
}

impl Pixels {
    /// The number of words that are used. It is large enough that a reader can see a half-written frame.
    const WORDS: usize = 2048;

    /// Maps the beginning of a dma-buf.
    ///
    /// # Errors
    /// The error of mmap.
    pub fn map(dmabuf: BorrowedFd<'_>) -> io::Result<Self> {
        // SAFETY: the kernel chooses the address of the new mapping, so it replaces no memory of this program.
        let start = unsafe {
            mm::mmap(
                std::ptr::null_mut(),
                Self::WORDS * 4,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                dmabuf,
                0,
            )
        }?;
        Ok(Self {
            start: std::ptr::NonNull::new(start.cast()).ok_or(io::Errno::NOMEM)?,
            words: Self::WORDS,
        })
    }

    /// Returns the words of the mapping.
    fn words(&self) -> &[AtomicU32] {
        // SAFETY: the mapping begins at a page and has this many words, which only atomic accesses touch.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    /// Writes a frame's number to all words, with a pause after half of them.
    pub fn fill(&self, number: u32) {
        for (index, word) in self.words().iter().enumerate() {
            if index == self.words / 2 {
                std::thread::yield_now();
            }
            word.store(number, Ordering::Relaxed);
        }
    }

    /// Returns whether all words contain this frame's number, both before and after a pause.
    pub fn all_equal(&self, number: u32) -> bool {
        let same = || {
            self.words()
                .iter()
                .all(|word| word.load(Ordering::Relaxed) == number)
        };
        let before = same();
        std::thread::yield_now();
        before && same()
    }
}
