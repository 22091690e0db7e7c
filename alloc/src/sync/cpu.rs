//! The processor's turn, without ever sleeping in it.

use super::reservation::ReservationError;
use super::{
    Access, FenceState, PriorAccess, SyncPoint, SyncPointError, SyncPointWait, TrackedFence as _,
};
use crate::buffer::{AccessError, CpuAccess, MapGuard, Mapping};

/// The answer to a processor that wants to touch a buffer.
#[derive(Debug)]
#[must_use = "nothing may be touched before the answer is looked at"]
pub enum CpuAccessDecision<'mapping> {
    /// Now: the guard ends the access when it is dropped.
    Now(MapGuard<'mapping>),
    /// Poll these in the event loop, and ask again.
    Wait(Vec<SyncPointWait>),
}

impl Mapping {
    /// Begins the CPU's access where nobody has to be waited for, and otherwise says for what.
    ///
    /// [`Mapping::access`] sleeps in the kernel until the fences that the buffer carries are signalled, and knows of no others.
    /// This asks both first: those that the buffer carries, and `after`, which a ledger has given.
    ///
    /// # Errors
    /// As [`Mapping::access`]; [`AccessError::Fences`].
    pub fn try_access(
        &self,
        access: CpuAccess,
        after: &[PriorAccess<SyncPoint>],
    ) -> Result<CpuAccessDecision<'_>, AccessError> {
        let kind = match access {
            CpuAccess::Read => Access::Read,
            CpuAccess::Write | CpuAccess::ReadWrite => Access::Write,
        };
        let failed = |source: SyncPointError| AccessError::Fences {
            origin: self.buffer().source_name().to_owned(),
            source: Box::new(source),
        };
        let carried = self.buffer().reservation().wait(kind);
        let carried = carried.map_err(|error: ReservationError| failed(error.into()))?;
        let mut waits: Vec<SyncPointWait> =
            carried.into_iter().map(SyncPointWait::Dmabuf).collect();
        for past in after {
            if past.moment.state() == FenceState::Pending {
                waits.push(past.moment.wait().map_err(failed)?);
            }
        }
        if waits.is_empty() {
            Ok(CpuAccessDecision::Now(self.access(access)?))
        } else {
            Ok(CpuAccessDecision::Wait(waits))
        }
    }
}
