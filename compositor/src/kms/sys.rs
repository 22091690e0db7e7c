//! File descriptors that the kernel writes into memory of this process.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes ownership of a file descriptor that the kernel created; `None` if it created none.
pub(super) fn take_fd(descriptor: RawFd) -> Option<OwnedFd> {
    if descriptor < 0 {
        return None;
    }
    // SAFETY: the kernel wrote the number into a field of which only it and its reader know, so nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
