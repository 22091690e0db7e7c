//! DeviceSync: when a device is done with a buffer, and who may touch it next.
//!
//! A moment is a file descriptor that becomes readable once and stays so. Nothing here waits: an event loop does, and
//! `Pollable::is_over` asks.
//!
//! | module | does | needs |
//! | --- | --- | --- |
//! | `ledger`, `custody` | who may touch a buffer now, and behind which moments | nothing |
//! | `fence` | sync_files | feature `buffer` |
//! | `reservation` | the fences that a dma-buf carries | feature `buffer` |
//! | `behind` | what the next party is told, in its language | feature `buffer` |
//! | `timeline`, `binary` | syncobjs, and conversions from and to sync_files | feature `syncobj` |
//! | `source` | a moment in a calloop event loop | feature `calloop` |
//!
//! # Cost
//!
//! In system calls, without the closing of fds:
//!
//! | what | calls | why |
//! | --- | --- | --- |
//! | ask a moment | 1 | poll, FILE_INFO or QUERY; one more for a fence that was merged |
//! | wait for a fence or a dma-buf in an event loop | 1 | another fd, since an event loop takes one only once; and the loop's own |
//! | wait for a point | 2 | an eventfd, and to have it counted up |
//! | carried fences to a sync_file, or the way back | 1 a memory | EXPORT_SYNC_FILE, IMPORT_SYNC_FILE |
//! | a point to a sync_file, or the way back | 4 | a binary syncobj is made, filled, emptied and closed: the kernel converts no other way before Linux 6.16 |
//! | merge n fences | n | the first is doubled |
//! | hand a single point on to who speaks of points | 0 | |

mod access_tracker;
#[cfg(feature = "syncobj")]
mod binary;
#[cfg(feature = "buffer")]
mod cpu;
#[cfg(feature = "buffer")]
mod fence;
#[cfg(feature = "buffer")]
mod pollable;
mod refusal;
#[cfg(feature = "buffer")]
mod reservation;
#[cfg(feature = "buffer")]
mod same_file;
#[cfg(feature = "calloop")]
mod source;
#[cfg(feature = "buffer")]
mod sync_point;
#[cfg(feature = "syncobj")]
mod syncobj;
#[cfg(feature = "buffer")]
mod sys;
#[cfg(feature = "syncobj")]
mod timeline;
mod typed_tracker;

use std::fmt;

pub use access_tracker::{
    AccessDecision, AccessToken, AccessTracker, Accessor, FenceState, Holder, Kind, PriorAccess,
    Reading, TrackedFence, Writing,
};
#[cfg(feature = "syncobj")]
pub use binary::Binary;
#[cfg(feature = "calloop")]
pub use calloop;
#[cfg(feature = "buffer")]
pub use cpu::CpuAccessDecision;
#[cfg(feature = "buffer")]
pub use fence::{Fence, FenceError, FencePart, FenceStatus};
#[cfg(feature = "buffer")]
pub use pollable::{PollFor, Pollable};
pub use refusal::AccessTrackerError;
#[cfg(feature = "buffer")]
pub use reservation::{DmabufWait, Reservation, ReservationError};
#[cfg(feature = "buffer")]
pub use same_file::is_same_file;
#[cfg(feature = "calloop")]
pub use source::PollableSource;
#[cfg(feature = "buffer")]
pub use sync_point::{Acquire, SyncPoint, SyncPointError, SyncPointWait, WaitPoint, export_wait};
#[cfg(feature = "syncobj")]
pub use syncobj::{SyncAbility, SyncDevice, TimelineError};
#[cfg(feature = "syncobj")]
pub use timeline::{Point, PointWait, Timeline, Until};
pub use typed_tracker::{Filled, Filling, Free, Lent, Step, TypedTracker, TypedTrackerError};

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
