//! A simulated device: a thread that waits for its acquire fence, delays, reads or writes pixels, and then signals a fence that
//! was created before the work began.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{
    Access, Accessor, Acquire, Fence, Point, Pollable, SyncDevice, SyncPoint, SyncPointWait,
    Timeline, Until,
};
use covalent_tests::check_support::sys::Pixels;
use covalent_tests::sw_sync::SwSyncTimeline;
use rustix::event::{PollFd, PollFlags, poll};

/// A buffer and the mapping through which the simulated devices access it.
pub(super) struct Shared {
    pub(super) buffer: Buffer,
    pub(super) pixels: Arc<Pixels>,
}

/// The object that a device signals when its job is complete.
pub(super) enum Signal {
    /// The next value of the device's sw_sync timeline.
    SwSync,
    /// A point of the device's release timeline, which is a DRM syncobj. The point has no fence until the completed job signals
    /// it.
    Point(Point),
}

/// One access of a simulated device to a buffer.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    access: Access,
    number: u32,
    /// The wait before the access; `None` if the device does not wait.
    after: Option<SyncPointWait>,
    signal: Signal,
}

/// A simulated device, and the thread that runs its jobs.
pub(super) struct Device {
    pub(super) accessor: Accessor,
    /// The mechanism with which the device waits for and signals fences; `None` for a device without fences.
    pub(super) mechanism: Option<SyncMechanism>,
    sw_sync: Arc<SwSyncTimeline>,
    fences: u32,
    acquire_timeline: Timeline,
    acquire_points: u64,
    release_timeline: Timeline,
    release_points: u64,
    jobs: Option<Sender<Job>>,
    done: Receiver<Result<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// Starts a device that delays each job by a random time below `slowest`.
    pub(super) fn start(
        name: &str,
        mechanism: Option<SyncMechanism>,
        syncobjs: &SyncDevice,
        seed: u64,
        slowest: Duration,
    ) -> Result<Self> {
        let sw_sync = Arc::new(SwSyncTimeline::new()?);
        let (jobs, queue) = channel();
        let (report, done) = channel();
        let driver = Arc::clone(&sw_sync);
        let thread = thread::spawn(move || {
            let mut random = Random(seed);
            for job in queue {
                let _ = report.send(work(job, &driver, random.below(slowest)));
            }
        });
        Ok(Self {
            accessor: Accessor::new(name, mechanism),
            mechanism,
            sw_sync,
            fences: 0,
            acquire_timeline: Timeline::create(syncobjs)?,
            acquire_points: 0,
            release_timeline: Timeline::create(syncobjs)?,
            release_points: 0,
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    /// Returns the next unused point of the device's acquire timeline.
    pub(super) fn next_acquire_point(&mut self) -> Result<Point> {
        self.acquire_points += 1;
        Ok(self.acquire_timeline.point(self.acquire_points)?)
    }

    /// Queues a job and returns the fence or point that signals its completion. Returns `None` for a device without fences, whose
    /// completion [`Device::next_done`] reports.
    pub(super) fn submit(
        &mut self,
        shared: &Arc<Shared>,
        access: Access,
        number: u32,
        acquire: Acquire,
    ) -> Result<Option<SyncPoint>> {
        let reservation = shared.buffer.reservation();
        let after = match acquire {
            Acquire::NoWait => None,
            // A driver waits for the fences that are in the reservation object at submission, and not for fences that are added
            // later.
            Acquire::Implicit => Some(SyncPointWait::Fence(reservation.fence_before(access)?)),
            Acquire::Fence(fence) => Some(SyncPointWait::Fence(fence)),
            Acquire::Point(point) => Some(SyncPointWait::Point(point.wait(Until::Signalled)?)),
            other => bail!("{} cannot acquire with {other:?}", self.accessor.name()),
        };
        let (signal, completion) = match self.mechanism {
            Some(SyncMechanism::Timeline) => {
                self.release_points += 1;
                let point = self.release_timeline.point(self.release_points)?;
                (Signal::Point(point.clone()), Some(point.into()))
            }
            mechanism => {
                self.fences += 1;
                let fence: Fence = self.sw_sync.fence(self.fences)?;
                let completion = match mechanism {
                    None => None,
                    Some(SyncMechanism::Implicit) => {
                        reservation.add(&fence, access)?;
                        let next = match access {
                            Access::Read => Access::Write,
                            Access::Write => Access::Read,
                        };
                        Some(SyncPoint::implicit(&shared.buffer, next)?)
                    }
                    Some(_) => Some(fence.into()),
                };
                (Signal::SwSync, completion)
            }
        };
        let job = Job {
            shared: Arc::clone(shared),
            access,
            number,
            after,
            signal,
        };
        self.jobs
            .as_ref()
            .context("the device was stopped")?
            .send(job)
            .ok()
            .context("the device's thread has ended")?;
        Ok(completion)
    }

    /// Waits for the next job to complete, as VIDIOC_DQBUF waits for a buffer. Returns whether the pixels were correct.
    pub(super) fn next_done(&self) -> Result<bool> {
        self.done.recv().context("the device's thread has ended")?
    }

    /// Waits for all jobs. Returns how many of them found wrong pixels, except jobs that [`Device::next_done`] returned.
    pub(super) fn stop(mut self) -> Result<u32> {
        drop(self.jobs.take());
        let mut wrong = 0;
        for right in self.done.iter() {
            wrong += u32::from(!right?);
        }
        if let Some(thread) = self.thread.take() {
            ensure!(thread.join().is_ok(), "the device's thread panicked");
        }
        Ok(wrong)
    }
}

/// Performs one job. Returns whether the pixels were correct.
fn work(job: Job, sw_sync: &SwSyncTimeline, delay: Duration) -> Result<bool> {
    if let Some(after) = &job.after {
        sleep_until(after)?;
    }
    thread::sleep(delay);
    let pixels = &job.shared.pixels;
    let right = match job.access {
        Access::Write => {
            pixels.fill(job.number);
            true
        }
        Access::Read => pixels.all_equal(job.number),
    };
    match job.signal {
        Signal::SwSync => sw_sync.advance(1)?,
        Signal::Point(point) => point.signal()?,
    }
    Ok(right)
}

/// Sleeps in poll() until a fence or point is signalled, as an event loop does.
pub(super) fn sleep_until(pollable: &impl Pollable) -> Result<()> {
    let flags = match pollable.poll_for() {
        covalent_alloc::sync::PollFor::Input => PollFlags::IN,
        covalent_alloc::sync::PollFor::Output => PollFlags::OUT,
    };
    let mut fds = [PollFd::new(pollable, flags)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    ensure!(
        pollable.is_signalled()?,
        "poll() returned before the fence was signalled"
    );
    Ok(())
}

/// A generator of pseudo-random numbers (xorshift). The same seed gives the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: Duration) -> Duration {
        let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.next() % micros)
    }

    pub(super) fn choose(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}
