//! Takes ownership of file descriptors whose numbers the kernel has written into memory of this process.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a file descriptor that the kernel created; `None` if it created none.
pub(super) fn take_fd(descriptor: RawFd) -> Option<OwnedFd> {
    if descriptor < 0 {
        return None;
    }
    // SAFETY: the kernel wrote the number into a field that only the kernel and its reader access, so no other value owns the
    // descriptor.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
