//! The pending fences of a dma-buf's reservation object: their driver and timeline, and for how long they have been pending at
//! least.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use covalent_alloc::SystemError;
use covalent_alloc::buffer::identify;
use covalent_alloc::sync::{
    Access, Fence, FencePart, FenceStatus, PollFor, Pollable, Reservation, ReservationError,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::time::{ClockId, clock_gettime};

use super::process_scan;
use super::report::{BufferReport, FenceOutcome, FenceReport, Fences};

/// Duplicates an fd of a dma-buf from one of the processes that hold it.
///
/// # Errors
/// The error of the last holder that was tried; EBADF if there is no holder.
pub(super) fn duplicate_fd_of_buffer(buffer: &BufferReport) -> Result<OwnedFd, Errno> {
    let mut last = Errno::BADF;
    for holder in &buffer.holders {
        for fd in &holder.fds {
            match duplicate_fd(holder.pid, holder.start_ticks, *fd) {
                // The process may have closed the fd and reused its number for another file since the scan.
                Ok(dmabuf) if identify(&dmabuf).is_ok_and(|(found, _)| found.0 == buffer.inode) => {
                    return Ok(dmabuf);
                }
                Ok(_) => last = Errno::BADF,
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

/// Duplicates an fd of another process into this one. If the start time `start_ticks` is known, a process that reused the pid is
/// detected.
///
/// # Errors
/// EPERM without permission to trace the process; EBADF if it has no such fd; ESRCH if it has exited or its pid was reused.
///
/// # References
/// pidfd_getfd(2).
pub(super) fn duplicate_fd(pid: u32, start_ticks: Option<u64>, fd: u32) -> Result<OwnedFd, Errno> {
    let number = |value: u32| i32::try_from(value).map_err(|_| Errno::BADF);
    let folder = Path::new("/proc").join(pid.to_string());
    let pid = Pid::from_raw(number(pid)?).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    // From here on the pidfd refers to one process, even if its pid is reused. So the start time is compared after the pidfd was
    // opened.
    if start_ticks.is_some() && process_scan::start_ticks(&folder) != start_ticks {
        return Err(Errno::SRCH);
    }
    pidfd_getfd(process, number(fd)?, PidfdGetfdFlags::empty())
}

/// The fences of one dma-buf when the watch started.
#[derive(Debug)]
pub(super) struct FenceWatch {
    writers: FenceSnapshot,
    writers_and_readers: FenceSnapshot,
}

/// A fence, and the state of each fence that it merges when the watch started.
#[derive(Debug)]
struct FenceSnapshot {
    fence: Fence,
    initial_parts: Vec<FencePart>,
}

impl FenceSnapshot {
    fn of(reservation: &Reservation<'_>, access: Access) -> Result<Self, ReservationError> {
        let fence = reservation.fence_before(access)?;
        let initial_parts = fence.parts()?;
        Ok(Self {
            fence,
            initial_parts,
        })
    }

    fn is_pending(&self) -> bool {
        self.initial_parts.iter().any(is_pending)
    }
}

impl FenceWatch {
    /// Exports the fences that the dma-buf's reservation object has now.
    ///
    /// # Errors
    /// [`ReservationError`].
    pub(super) fn start(dmabuf: &OwnedFd) -> Result<Self, ReservationError> {
        let reservation = Reservation::of(dmabuf.as_fd())?;
        Ok(Self {
            // The kernel exports the fences for which an access has to wait: a read waits for writers; a write waits for writers
            // and readers.
            writers: FenceSnapshot::of(&reservation, Access::Read)?,
            writers_and_readers: FenceSnapshot::of(&reservation, Access::Write)?,
        })
    }

    /// Returns the outcome of each fence. `start` is the beginning of the watch on CLOCK_MONOTONIC.
    ///
    /// # Errors
    /// [`ReservationError`].
    pub(super) fn finish(&self, start: Duration) -> Result<Fences, ReservationError> {
        let watched = monotonic().saturating_sub(start);
        let outcomes = |of: &FenceSnapshot| -> Result<_, ReservationError> {
            let parts = of.fence.parts()?;
            Ok(outcomes(&of.initial_parts, &parts, start, watched))
        };
        let writers = outcomes(&self.writers)?;
        let mut readers = outcomes(&self.writers_and_readers)?;
        // The fences of the readers are the fences for which a write waits, without those for which a read waits.
        for writer in &writers {
            let same =
                |one: &FenceReport| one.driver == writer.driver && one.timeline == writer.timeline;
            if let Some(index) = readers.iter().position(same) {
                readers.remove(index);
            }
        }
        Ok(Fences { writers, readers })
    }
}

/// Waits until no watched fence is pending, for at most `timeout`.
///
/// # Errors
/// The error of poll(2).
pub(super) fn wait_for_watched<'a>(
    watches: impl Iterator<Item = &'a FenceWatch>,
    timeout: Duration,
) -> Result<(), SystemError> {
    let fences: Vec<&Fence> = watches
        .map(|watch| &watch.writers_and_readers)
        .filter(|snapshot| snapshot.is_pending())
        .map(|snapshot| &snapshot.fence)
        .collect();
    wait_until_signalled(&fences, timeout).map(drop)
}

/// Waits until all fences have signalled or failed. Returns false if `timeout` ends first.
///
/// # Errors
/// The error of poll(2).
pub(super) fn wait_until_signalled<F: Pollable>(
    fences: &[&F],
    timeout: Duration,
) -> Result<bool, SystemError> {
    let deadline = Instant::now().checked_add(timeout);
    loop {
        let mut pending = Vec::new();
        for fence in fences.iter().copied() {
            if !fence.is_signalled()? {
                let flags = match fence.poll_for() {
                    PollFor::Input => PollFlags::IN,
                    PollFor::Output => PollFlags::OUT,
                };
                pending.push(PollFd::new(fence, flags));
            }
        }
        if pending.is_empty() {
            return Ok(true);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(false);
        }
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut pending, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the time on CLOCK_MONOTONIC, the clock of fence timestamps.
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

/// Returns the outcome of each fence that was pending when the watch started. `at_start` and `at_end` are the states at both ends
/// of the watch. Driver and timeline come from `at_start`, because the kernel does not report them after a fence has signalled.
fn outcomes(
    at_start: &[FencePart],
    at_end: &[FencePart],
    start: Duration,
    watched: Duration,
) -> Vec<FenceReport> {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let pending = at_start
        .iter()
        .enumerate()
        .filter(|(_, part)| is_pending(part));
    pending
        .map(|(index, part)| {
            let now = at_end.get(index);
            let after = now
                .and_then(|now| now.signalled_at)
                .map_or(watched, |at| at.saturating_sub(start).min(watched));
            let after_ns = nanoseconds(after);
            let outcome = match now.map(|now| now.status) {
                None | Some(FenceStatus::Signalled) => FenceOutcome::Signalled { after_ns },
                Some(FenceStatus::Failed(error)) => FenceOutcome::Failed {
                    after_ns,
                    error: error.to_string(),
                },
                Some(FenceStatus::Unsignalled) => FenceOutcome::Pending {
                    at_least_ns: nanoseconds(watched),
                },
            };
            FenceReport {
                driver: part.driver.clone(),
                timeline: part.timeline.clone(),
                outcome,
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
    fn pending_fence_is_reported_with_its_outcome_and_time() {
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
            part(
                "detached",
                FenceStatus::Failed(Errno::TIMEDOUT.into()),
                Some(100),
            ),
        ];
        let start = Duration::from_nanos(100);
        let reports = outcomes(&first, &last, start, Duration::from_nanos(50));
        let found: Vec<_> = reports
            .into_iter()
            .map(|fence| (fence.driver, fence.outcome))
            .collect();
        assert_eq!(
            found,
            [
                ("vgem".to_owned(), FenceOutcome::Pending { at_least_ns: 50 }),
                ("i915".to_owned(), FenceOutcome::Signalled { after_ns: 40 }),
                (
                    "amdgpu".to_owned(),
                    FenceOutcome::Failed {
                        after_ns: 0,
                        error: Errno::TIMEDOUT.to_string()
                    }
                ),
            ]
        );
    }

    #[test]
    fn fd_of_a_process_is_the_same_file_and_a_missing_one_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        let pid = std::process::id();
        let start = process_scan::start_ticks(Path::new("/proc/self"));
        assert!(start.is_some());
        let duplicate = duplicate_fd(pid, start, number.unsigned_abs()).unwrap();
        let inode = |fd: &dyn std::os::fd::AsFd| rustix::fs::fstat(fd.as_fd()).unwrap().st_ino;
        assert_eq!(inode(&duplicate), inode(&file));
        let later = start.map(|ticks| ticks + 1);
        assert_eq!(
            duplicate_fd(pid, later, number.unsigned_abs()).unwrap_err(),
            Errno::SRCH,
            "another process has the pid"
        );
        assert_eq!(duplicate_fd(pid, None, 60_000).unwrap_err(), Errno::BADF);
        assert_eq!(duplicate_fd(u32::MAX, None, 0).unwrap_err(), Errno::BADF);
        assert_eq!(duplicate_fd(0, None, 0).unwrap_err(), Errno::SRCH);
    }
}
