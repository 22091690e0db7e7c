//! The file descriptors and the memory of a compositor, and the time that the compositor takes to end after SIGTERM.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::{start_clients, wait_until};

/// The longest time until the compositor has freed everything that its clients held.
const CLEANUP_LIMIT: Duration = Duration::from_secs(20);
/// The longest time that the test waits for the end of the compositor.
const END_LIMIT: Duration = Duration::from_secs(60);

/// The file descriptors and the memory of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The number of open file descriptors.
    pub descriptors: usize,
    /// The resident memory in KiB.
    pub memory_kib: u64,
}

impl Resources {
    /// Reads the resources of a process.
    ///
    /// # Errors
    ///
    /// The process has ended.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let descriptors = format!("/proc/{pid}/fd");
        let status = format!("/proc/{pid}/status");
        let descriptors = std::fs::read_dir(&descriptors)
            .context(descriptors)?
            .count();
        let text = std::fs::read_to_string(&status).context(status)?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(Self {
            descriptors,
            memory_kib: kib.context("the process has no memory")?.parse()?,
        })
    }

    /// Waits until a process holds no more file descriptors than these resources, and at most `tolerance_kib` more memory.
    /// Returns the resources that the process then holds.
    ///
    /// # Errors
    ///
    /// The process still holds more after the time limit.
    pub fn wait_for_return(self, pid: u32, tolerance_kib: u64) -> anyhow::Result<Self> {
        let allowed = self.memory_kib.saturating_add(tolerance_kib);
        let mut now = Self::of(pid)?;
        let returned = wait_until(CLEANUP_LIMIT, || {
            now = Self::of(pid).unwrap_or(now);
            now.descriptors <= self.descriptors && now.memory_kib <= allowed
        });
        anyhow::ensure!(
            returned,
            "the compositor holds {now:?}, and held {self:?} before the hostile clients"
        );
        Ok(now)
    }
}

/// Starts the hostile clients, and ends the compositor by SIGTERM after `running`. Returns the time that the compositor took to
/// end.
///
/// # Errors
///
/// The compositor does not end.
pub fn terminate_beside_clients(
    socket: &Path,
    pid: u32,
    seed: u64,
    running: Duration,
) -> anyhow::Result<Duration> {
    let stop = Arc::new(AtomicBool::new(false));
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.context("the process id is not valid")?;
    let ended = pidfd_open(process, PidfdFlags::empty()).context("pidfd_open")?;
    let threads = start_clients(socket, seed, &stop)?;
    std::thread::sleep(running);
    let start = Instant::now();
    kill_process(process, Signal::TERM).context("SIGTERM")?;
    let has_ended = wait_for_end(&ended);
    let took = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    for (_, thread) in threads {
        // The clients report that they were disconnected.
        let _ = thread.join();
    }
    anyhow::ensure!(has_ended, "the compositor ignores SIGTERM");
    Ok(took)
}

fn wait_for_end(process: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    let limit = Timespec {
        tv_sec: i64::try_from(END_LIMIT.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: 0,
    };
    poll(&mut fds, Some(&limit)).is_ok_and(|count| count > 0)
}
