//! Fences, and the order of accesses to a buffer.
//!
//! Every fence or wait of this module is a file descriptor that becomes ready. No function of this module waits for a fence: the
//! caller's event loop polls the descriptor, or [`Pollable::is_signalled`] queries it. A fence and a timeline point stay ready. A
//! dma-buf is ready until a driver or process adds another implicit fence to it.
//!
//! | module | contains | needs |
//! | --- | --- | --- |
//! | `access_tracker`, `typed_tracker` | who may access a buffer now, and which fences the access has to wait for | nothing |
//! | `fence` | sync_files | feature `buffer` |
//! | `reservation` | the implicit fences of a dma-buf | feature `buffer` |
//! | `sync_point` | a fence or timeline point, and its conversion to the mechanism of the next accessor | feature `buffer` |
//! | `cpu` | CPU access that returns what to wait for, and does not wait | feature `buffer` |
//! | `timeline`, `binary_syncobj` | syncobjs, and their conversion from and to sync_files | feature `syncobj` |
//! | `source` | an event source for calloop | feature `calloop` |
//!
//! # Cost
//!
//! The table has the number of system calls of each operation, without the close calls of file descriptors:
//!
//! | operation | calls | which |
//! | --- | --- | --- |
//! | query a fence or point | 1 | poll, FILE_INFO or QUERY; one more for a merged fence |
//! | wait for a fence or a dma-buf in an event loop | 1 | dup, since an event loop takes each descriptor only once; then the loop's own calls |
//! | wait for a point | 2 | eventfd and SYNCOBJ_EVENTFD |
//! | convert implicit fences to a sync_file, or back | 1 a dma-buf | EXPORT_SYNC_FILE, IMPORT_SYNC_FILE |
//! | convert a point to a sync_file, or back | 4 | a binary syncobj is created, filled, emptied and destroyed: before Linux 6.16 the kernel has no direct conversion |
//! | merge n fences | n | one dup, and n - 1 SYNC_IOC_MERGE |
//! | pass a single point to an accessor that takes points | 0 | |

mod access_tracker;
mod access_tracker_error;
#[cfg(feature = "syncobj")]
mod binary_syncobj;
#[cfg(feature = "buffer")]
mod cpu;
#[cfg(feature = "buffer")]
mod fence;
#[cfg(feature = "buffer")]
mod pollable;
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
    AccessDecision, AccessKind, AccessToken, AccessTracker, Accessor, FenceState, Holder,
    PriorAccess, Reading, TrackedFence, Writing,
};
pub use access_tracker_error::AccessTrackerError;
#[cfg(feature = "syncobj")]
pub use binary_syncobj::BinarySyncobj;
#[cfg(feature = "calloop")]
pub use calloop;
#[cfg(feature = "buffer")]
pub use cpu::CpuAccessDecision;
#[cfg(feature = "buffer")]
pub use fence::{Fence, FenceError, FencePart, FenceStatus};
#[cfg(feature = "buffer")]
pub use pollable::{PollFor, Pollable};
#[cfg(feature = "buffer")]
pub use reservation::{DmabufWait, Reservation, ReservationError};
#[cfg(feature = "buffer")]
pub use same_file::is_same_file;
#[cfg(feature = "calloop")]
pub use source::PollableSource;
#[cfg(feature = "buffer")]
pub use sync_point::{Acquire, SyncPoint, SyncPointError, SyncPointWait, WaitPoint, export_wait};
#[cfg(feature = "syncobj")]
pub use syncobj::{SyncDevice, SyncobjSupport, TimelineError};
#[cfg(feature = "syncobj")]
pub use timeline::{Point, PointWait, Timeline, TimelineEventfd, Until};
pub use typed_tracker::{
    BeingRead, BeingWritten, Idle, TypedDecision, TypedTracker, TypedTrackerError, Written,
};

/// Whether an access by the CPU or a device writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The access reads, so it waits for the last writer.
    Read,
    /// The access writes, or reads and writes, so it waits for the last writer and all readers.
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
