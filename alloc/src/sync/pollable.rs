//! Fences and waits that an event loop can poll.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

use crate::SystemError;

/// The event that a file descriptor is polled for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PollFor {
    /// POLLIN: the descriptor becomes readable.
    #[default]
    Input,
    /// POLLOUT: the descriptor becomes writable.
    Output,
}

/// A fence or wait that an event loop can poll by a file descriptor. Once signalled, it stays signalled, except for a
/// [`DmabufWait`](super::DmabufWait), because fences can be added to a dma-buf at any time.
pub trait Pollable: AsFd {
    /// Returns the event that the file descriptor is polled for.
    fn poll_for(&self) -> PollFor {
        PollFor::Input
    }

    /// Queries whether the fence or wait is signalled, without waiting.
    ///
    /// # Errors
    /// The error of poll(2).
    ///
    /// # References
    /// poll(2), with a timeout of 0.
    fn is_signalled(&self) -> Result<bool, SystemError> {
        let fd = self.as_fd();
        Ok(is_polled(&fd, self.poll_for())?)
    }
}

pub(super) fn is_polled(fd: &impl AsFd, poll_for: PollFor) -> Result<bool, Errno> {
    let flags = match poll_for {
        PollFor::Input => PollFlags::IN,
        PollFor::Output => PollFlags::OUT,
    };
    let mut fds = [PollFd::new(fd, flags)];
    let no_wait = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    retry_on_intr(|| poll(&mut fds, Some(&no_wait)))?;
    Ok(fds[0].revents().contains(flags))
}
