//! Calls `epoll_pwait2`, whose timeout is in nanoseconds. rustix calls it only if the program requires Linux 5.11 at least.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// Waits until a file descriptor is ready or `timeout` elapses, and appends the events to `events`, up to its capacity.
///
/// Kernels before 5.11 round the time up to milliseconds.
///
/// # Errors
///
/// The errors of `epoll_wait`.
pub(super) fn wait(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    timeout: Option<Duration>,
) -> rustix::io::Result<()> {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let has_fraction = timeout.is_some_and(|timeout| timeout.tv_nsec != 0);
    if has_fraction {
        match wait_precisely(epoll, events, timeout) {
            Err(Errno::NOSYS | Errno::PERM) => {}
            waited => return waited,
        }
    }
    epoll::wait(epoll, spare_capacity(events), timeout.as_ref()).map(drop)
}

fn wait_precisely(
    epoll: &OwnedFd,
    events: &mut Vec<epoll::Event>,
    timeout: Option<Timespec>,
) -> rustix::io::Result<()> {
    // The kernel's `struct __kernel_timespec` has two fields of 64 bits on every architecture.
    #[allow(clippy::useless_conversion)] // on architectures of 32 bits
    let timeout = timeout.map(|timeout| [timeout.tv_sec, i64::from(timeout.tv_nsec)]);
    let timeout: *const i64 = timeout
        .as_ref()
        .map_or(std::ptr::null(), |timeout| timeout.as_ptr());
    let spare = events.spare_capacity_mut();
    let free = libc::c_int::try_from(spare.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: `epoll::Event` has the layout of `struct epoll_event`, and the kernel writes at most `free` of them to the spare
    // capacity. `timeout` is null or points to a live value. The signal mask is null.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            spare.as_mut_ptr(),
            free,
            timeout,
            std::ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    let Ok(count) = usize::try_from(count) else {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    };
    let length = events.len().saturating_add(count);
    // SAFETY: the kernel has written `count` events after the first ones.
    unsafe { events.set_len(length) };
    Ok(())
}
