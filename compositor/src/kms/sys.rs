//! Descriptors that the kernel wrote into our memory.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Takes a descriptor that the kernel made for this process; `None` when it made none.
pub(super) fn take_fd(descriptor: RawFd) -> Option<OwnedFd> {
    if descriptor < 0 {
        return None;
    }
    // SAFETY: the kernel wrote the number into a field of which only it and its reader know, so nobody else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
