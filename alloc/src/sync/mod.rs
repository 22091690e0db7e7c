//! Moments: when a device is done with a buffer, and who may touch it next.
//!
//! A moment is a file descriptor that becomes readable once and stays so. Nothing here waits: an event loop does, and
//! `Awaited::is_over` asks.
//!
//! | module | does | needs |
//! | --- | --- | --- |
//! | `ledger`, `custody` | who may touch a buffer now, and behind which moments | nothing |
//! | `fence` | sync_files | feature `buffer` |
//! | `reservation` | the fences that a dma-buf carries | feature `buffer` |
//! | `behind` | what the next party is told, in its language | feature `buffer` |
//! | `timeline`, `binary` | syncobjs, and conversions from and to sync_files | feature `syncobj` |
//! | `source` | a moment in a calloop event loop | feature `calloop` |

#[cfg(feature = "buffer")]
mod awaited;
#[cfg(feature = "buffer")]
mod behind;
#[cfg(feature = "syncobj")]
mod binary;
#[cfg(feature = "buffer")]
mod cpu;
mod custody;
#[cfg(feature = "buffer")]
mod fence;
mod ledger;
#[cfg(feature = "buffer")]
mod reservation;
#[cfg(feature = "calloop")]
mod source;
#[cfg(feature = "syncobj")]
mod syncobj;
#[cfg(feature = "buffer")]
mod sys;
#[cfg(feature = "syncobj")]
mod timeline;

use std::fmt;

#[cfg(feature = "buffer")]
pub use awaited::{Awaited, PollFor};
#[cfg(feature = "buffer")]
pub use behind::{Behind, BehindError, BehindWait, Room, Told, tell};
#[cfg(feature = "syncobj")]
pub use binary::Binary;
#[cfg(feature = "buffer")]
pub use cpu::CpuTurn;
pub use custody::{Custody, CustodyError, Filled, Filling, Free, Lent, Step};
#[cfg(feature = "buffer")]
pub use fence::{Fence, FenceError, FencePart, FenceStatus};
pub use ledger::{
    HandOver, Holder, Kind, Ledger, LedgerError, Moment, MomentState, Party, Past, Reading, Turn,
    Writing,
};
#[cfg(feature = "buffer")]
pub use reservation::{DmabufWait, Reservation, ReservationError};
#[cfg(feature = "calloop")]
pub use source::MomentSource;
#[cfg(feature = "syncobj")]
pub use syncobj::{SyncAbility, SyncDevice, TimelineError};
#[cfg(feature = "syncobj")]
pub use timeline::{Point, PointWait, Timeline, Until};

/// What the CPU or a device is about to do, or has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Read: after the last writer.
    Read,
    /// Write, or both: after the last writer and all readers.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

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
pub trait Awaited: AsFd {
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

/// Tells whether two descriptors are of one open file, as after a `dup` or a message over a socket; `false` where the kernel does
/// not tell. A syncobj that was exported twice is two files.
#[must_use]
pub fn is_same_file(one: impl AsFd, other: impl AsFd) -> bool {
    sys::is_same_file(one.as_fd(), other.as_fd())
}

fn is_polled(fd: &impl AsFd, poll_for: PollFor) -> Result<bool, Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_the_same_as_its_duplicate_and_no_other() {
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(is_same_file(&null, null.try_clone().unwrap()));
        assert!(!is_same_file(
            &null,
            std::fs::File::open("/dev/null").unwrap()
        ));
    }
}
