//! CPU access that queries the fences first, so that it does not block in the kernel.

use super::reservation::ReservationError;
use super::{
    Access, FenceState, PriorAccess, SyncPoint, SyncPointError, SyncPointWait, TrackedFence as _,
};
use crate::buffer::{AccessError, CpuAccess, MapGuard, Mapping};

/// The result of [`Mapping::try_access`].
#[derive(Debug)]
#[must_use = "the result tells whether the access has begun"]
pub enum CpuAccessDecision<'mapping> {
    /// The access has begun. It ends when the guard is dropped.
    Granted(MapGuard<'mapping>),
    /// The access has not begun, because fences are pending. Poll these in the event loop and try again.
    Wait(Vec<SyncPointWait>),
}

impl Mapping {
    /// Begins a CPU access, or returns the fences that are pending.
    ///
    /// [`Mapping::access`] blocks in the kernel until the implicit fences of the buffer are signalled, and does not wait for
    /// explicit fences. This function first queries the implicit fences and the fences of `prior`, which an
    /// [`AccessTracker`](super::AccessTracker) returned.
    ///
    /// If another process adds an implicit fence after the query, the access blocks until that fence is signalled. The kernel has
    /// no access that does not wait.
    ///
    /// # Errors
    /// The errors of [`Mapping::access`]; [`AccessError::Fences`].
    pub fn try_access(
        &self,
        access: CpuAccess,
        prior: &[PriorAccess<SyncPoint>],
    ) -> Result<CpuAccessDecision<'_>, AccessError> {
        let kind = match access {
            CpuAccess::Read => Access::Read,
            CpuAccess::Write | CpuAccess::ReadWrite => Access::Write,
        };
        let failed = |source: SyncPointError| AccessError::Fences {
            origin: self.buffer().source_name().to_owned(),
            source: Box::new(source),
        };
        let implicit = self.buffer().reservation().wait(kind);
        let implicit = implicit.map_err(|error: ReservationError| failed(error.into()))?;
        let mut waits: Vec<SyncPointWait> =
            implicit.into_iter().map(SyncPointWait::Dmabuf).collect();
        for earlier in prior {
            if earlier.fence.state() == FenceState::Pending {
                waits.push(earlier.fence.wait().map_err(failed)?);
            }
        }
        if waits.is_empty() {
            Ok(CpuAccessDecision::Granted(self.access(access)?))
        } else {
            Ok(CpuAccessDecision::Wait(waits))
        }
    }
}
