//! Fences that a dma-buf carries and that are pending: whose they are, and for how long at the least.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use covalent_alloc::buffer::identify;
use covalent_alloc::sync::{
    Access, Fence, FencePart, FenceStatus, PollFor, Pollable, Reservation, ReservationError,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

use super::census;
use super::report::{BufferReport, FenceReport, FenceState, Fences};

/// Takes an fd of a dma-buf from one of the processes that hold it.
///
/// # Errors
/// What stood in the way at the last of them.
pub(super) fn take_fd(buffer: &BufferReport) -> Result<OwnedFd, Errno> {
    let mut last = Errno::BADF;
    for holder in &buffer.holders {
        for fd in &holder.fds {
            match fd_of(holder.process, holder.started, *fd) {
                // The number may be another file's by now.
                Ok(taken) if identify(&taken).is_ok_and(|(found, _)| found.0 == buffer.inode) => {
                    return Ok(taken);
                }
                Ok(_) => last = Errno::BADF,
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// Takes an fd of a process, which is the one that began at `started` where that is known.
///
/// # Errors
/// EPERM without the right to trace the process; EBADF or ESRCH where it is gone, or another one has its number.
///
/// # References
/// pidfd_getfd(2).
pub(super) fn fd_of(process: u32, started: Option<u64>, fd: u32) -> Result<OwnedFd, Errno> {
    let number = |value: u32| i32::try_from(value).map_err(|_| Errno::BADF);
    let folder = Path::new("/proc").join(process.to_string());
    let process = Pid::from_raw(number(process)?).ok_or(Errno::SRCH)?;
    let process = pidfd_open(process, PidfdFlags::empty())?;
    // From here on the process is the same: this says which one it is.
    if started.is_some() && census::started(&folder) != started {
        return Err(Errno::SRCH);
    }
    pidfd_getfd(process, number(fd)?, PidfdGetfdFlags::empty())
}

/// The fences of one dma-buf that were pending when it was looked at.
#[derive(Debug)]
pub(super) struct Pending {
    writers: Watched,
    all: Watched,
}

/// A fence and its parts at the first look.
#[derive(Debug)]
struct Watched {
    fence: Fence,
    first: Vec<FencePart>,
}

impl Watched {
    fn take(reservation: &Reservation<'_>, access: Access) -> Result<Self, ReservationError> {
        let fence = reservation.fence_before(access)?;
        let first = fence.parts()?;
        Ok(Self { fence, first })
    }

    fn is_pending(&self) -> bool {
        self.first.iter().any(is_pending)
    }
}

impl Pending {
    /// Takes what a dma-buf carries now.
    ///
    /// # Errors
    /// [`ReservationError`].
    pub(super) fn of(dmabuf: &OwnedFd) -> Result<Self, ReservationError> {
        let reservation = Reservation::of(dmabuf.as_fd())?;
        Ok(Self {
            writers: Watched::take(&reservation, Access::Read)?,
            all: Watched::take(&reservation, Access::Write)?,
        })
    }

    /// What became of them; `began` is when the watch did, on CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// [`ReservationError`].
    pub(super) fn end(&self, began: Duration) -> Result<Fences, ReservationError> {
        let watched = monotonic().saturating_sub(began);
        let states = |of: &Watched| -> Result<_, ReservationError> {
            Ok(states(&of.first, &of.fence.parts()?, began, watched))
        };
        let writers = states(&self.writers)?;
        let mut readers = states(&self.all)?;
        // Who writes waits for everybody: what is left without the writers is the readers'.
        for writer in &writers {
            let same =
                |one: &FenceReport| one.driver == writer.driver && one.timeline == writer.timeline;
            if let Some(place) = readers.iter().position(same) {
                readers.remove(place);
            }
        }
        Ok(Fences { writers, readers })
    }
}

/// Waits until nothing is pending any more, and no longer than `most`.
///
/// # Errors
/// What poll answers.
pub(super) fn watch<'a>(
    pending: impl Iterator<Item = &'a Pending>,
    most: Duration,
) -> Result<(), Errno> {
    let fences: Vec<&Fence> = pending
        .map(|pending| &pending.all)
        .filter(|all| all.is_pending())
        .map(|all| &all.fence)
        .collect();
    wait(&fences, most).map(drop)
}

/// Waits until all are over; false when they are not within `most`.
///
/// # Errors
/// What poll answers.
pub(super) fn wait<M: Pollable>(moments: &[&M], most: Duration) -> Result<bool, Errno> {
    let until = Instant::now().checked_add(most);
    loop {
        let mut open = Vec::new();
        for moment in moments.iter().copied() {
            if !moment.is_signalled()? {
                let flags = match moment.poll_for() {
                    PollFor::Input => PollFlags::IN,
                    PollFor::Output => PollFlags::OUT,
                };
                open.push(PollFd::new(moment, flags));
            }
        }
        if open.is_empty() {
            return Ok(true);
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(false);
        }
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut open, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// The time now on CLOCK_MONOTONIC, by which fences are stamped.
pub(super) fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = Duration::from_secs(u64::try_from(now.tv_sec).unwrap_or(0));
    seconds.saturating_add(Duration::from_nanos(
        u64::try_from(now.tv_nsec).unwrap_or(0),
    ))
}

fn is_pending(part: &FencePart) -> bool {
    part.status == FenceStatus::Unsignalled
}

/// What became of the parts that were pending at the first look. A fence that is over has lost its names.
fn states(
    first: &[FencePart],
    last: &[FencePart],
    began: Duration,
    watched: Duration,
) -> Vec<FenceReport> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let pending = first
        .iter()
        .enumerate()
        .filter(|(_, part)| is_pending(part));
    pending
        .map(|(place, part)| {
            let now = last.get(place);
            let after = now
                .and_then(|now| now.signalled_at)
                .map_or(watched, |at| at.saturating_sub(began).min(watched));
            let after_ns = nanoseconds(after);
            let state = match now.map(|now| now.status) {
                None | Some(FenceStatus::Signalled) => FenceState::Signalled { after_ns },
                Some(FenceStatus::Failed(error)) => FenceState::Failed {
                    after_ns,
                    error: error.to_string(),
                },
                Some(FenceStatus::Unsignalled) => FenceState::Pending {
                    at_least_ns: nanoseconds(watched),
                },
            };
            FenceReport {
                driver: part.driver.clone(),
                timeline: part.timeline.clone(),
                state,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(driver: &str, status: FenceStatus, at: Option<u64>) -> FencePart {
        FencePart {
            driver: driver.to_owned(),
            timeline: "ring".to_owned(),
            status,
            signalled_at: at.map(Duration::from_nanos),
        }
    }

    #[test]
    fn fence_that_was_pending_is_told_with_its_time() {
        let (open, done) = (FenceStatus::Unsignalled, FenceStatus::Signalled);
        let first = [
            part("stub", done, Some(3)),
            part("vgem", open, None),
            part("i915", open, None),
            part("amdgpu", open, None),
        ];
        let last = [
            part("stub", done, Some(3)),
            part("vgem", open, None),
            part("detached", done, Some(140)),
            part("detached", FenceStatus::Failed(Errno::TIMEDOUT), Some(100)),
        ];
        let began = Duration::from_nanos(100);
        let told = states(&first, &last, began, Duration::from_nanos(50));
        let told: Vec<_> = told
            .into_iter()
            .map(|fence| (fence.driver, fence.state))
            .collect();
        assert_eq!(
            told,
            [
                ("vgem".to_owned(), FenceState::Pending { at_least_ns: 50 }),
                ("i915".to_owned(), FenceState::Signalled { after_ns: 40 }),
                (
                    "amdgpu".to_owned(),
                    FenceState::Failed {
                        after_ns: 0,
                        error: Errno::TIMEDOUT.to_string()
                    }
                ),
            ]
        );
    }

    #[test]
    fn fd_of_a_process_is_the_same_file_and_what_is_gone_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let own = std::process::id();
        let began = census::started(Path::new("/proc/self"));
        assert!(began.is_some());
        let taken = fd_of(own, began, number.unsigned_abs()).unwrap();
        let inode = |fd: &dyn std::os::fd::AsFd| rustix::fs::fstat(fd.as_fd()).unwrap().st_ino;
        assert_eq!(inode(&taken), inode(&file));
        let later = began.map(|ticks| ticks + 1);
        assert_eq!(
            fd_of(own, later, number.unsigned_abs()).unwrap_err(),
            Errno::SRCH,
            "another process has the number"
        );
        assert_eq!(fd_of(own, None, 60_000).unwrap_err(), Errno::BADF);
        assert_eq!(fd_of(u32::MAX, None, 0).unwrap_err(), Errno::BADF);
        assert_eq!(fd_of(0, None, 0).unwrap_err(), Errno::SRCH);
    }
}
