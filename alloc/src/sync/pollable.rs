//! What an event loop can wait for.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

/// For what an event loop polls a file descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PollFor {
    /// POLLIN.
    #[default]
    Input,
    /// POLLOUT.
    Output,
}

/// A moment that an event loop can wait for by polling a file descriptor. Once over, it stays over.
pub trait Pollable: AsFd {
    /// For what the file descriptor is polled.
    fn poll_for(&self) -> PollFor {
        PollFor::Input
    }

    /// Asks whether the moment is over, and never waits.
    ///
    /// # Errors
    /// What poll answers.
    ///
    /// # References
    /// poll(2), with a timeout of 0.
    fn is_over(&self) -> Result<bool, Errno> {
        let fd = self.as_fd();
        is_polled(&fd, self.poll_for())
    }
}

pub(super) fn is_polled(fd: &impl AsFd, poll_for: PollFor) -> Result<bool, Errno> {
    let flags = match poll_for {
        PollFor::Input => PollFlags::IN,
        PollFor::Output => PollFlags::OUT,
    };
    let mut fds = [PollFd::new(fd, flags)];
    let at_once = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    retry_on_intr(|| poll(&mut fds, Some(&at_once)))?;
    Ok(fds[0].revents().contains(flags))
}
