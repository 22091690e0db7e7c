//! A device of the check: a thread that waits for what it was told, takes its time, touches pixels, and says that it is done
//! by a fence that was there before.

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
use covalent_tests::held::Held;
use covalent_tests::witness::sys::Pixels;
use rustix::event::{PollFd, PollFlags, poll};

/// A buffer and the view of it that devices have.
pub(super) struct Shared {
    pub(super) buffer: Buffer,
    pub(super) pixels: Arc<Pixels>,
}

/// What a device says when it is done.
pub(super) enum Signal {
    /// The next value of its sw_sync timeline.
    Held,
    /// A point, which nobody has submitted before.
    Point(Point),
}

pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    access: Access,
    number: u32,
    /// What it waits for.
    after: Option<SyncPointWait>,
    signal: Signal,
}

pub(super) struct Device {
    pub(super) party: Accessor,
    pub(super) language: Option<SyncMechanism>,
    held: Arc<Held>,
    fences: u32,
    /// What it is told by points, and tells by points.
    timelines: (Timeline, Timeline),
    room: u64,
    points: u64,
    jobs: Option<Sender<Job>>,
    done: Receiver<Result<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Device {
    /// Starts a device that delays each job by up to `slowest`, at random.
    pub(super) fn start(
        name: &str,
        language: Option<SyncMechanism>,
        syncobjs: &SyncDevice,
        seed: u64,
        slowest: Duration,
    ) -> Result<Self> {
        let held = Arc::new(Held::new()?);
        let (jobs, queue) = channel();
        let (report, done) = channel();
        let driver = Arc::clone(&held);
        let thread = thread::spawn(move || {
            let mut random = Random(seed);
            for job in queue {
                let _ = report.send(work(job, &driver, random.below(slowest)));
            }
        });
        Ok(Self {
            party: Accessor::new(name, language),
            language,
            held,
            fences: 0,
            timelines: (Timeline::create(syncobjs)?, Timeline::create(syncobjs)?),
            room: 0,
            points: 0,
            jobs: Some(jobs),
            done,
            thread: Some(thread),
        })
    }

    /// A point of its own timeline that nobody has used.
    pub(super) fn room(&mut self) -> Result<Point> {
        self.room += 1;
        Ok(self.timelines.0.point(self.room)?)
    }

    /// Queues a job, and says behind which moment it is done; `None` where the device says so only when it is.
    pub(super) fn submit(
        &mut self,
        shared: &Arc<Shared>,
        access: Access,
        number: u32,
        told: Acquire,
    ) -> Result<Option<SyncPoint>> {
        let reservation = shared.buffer.reservation();
        let after = match told {
            Acquire::NoWait => None,
            // As a driver does: what is carried now counts, and not what comes later.
            Acquire::Implicit => Some(SyncPointWait::Fence(reservation.fence_before(access)?)),
            Acquire::Fence(fence) => Some(SyncPointWait::Fence(fence)),
            Acquire::Point(point) => Some(SyncPointWait::Point(point.wait(Until::Signalled)?)),
            other => bail!("{} was told {other:?}", self.party.name()),
        };
        let (signal, behind) = match self.language {
            Some(SyncMechanism::Timeline) => {
                self.points += 1;
                let point = self.timelines.1.point(self.points)?;
                (Signal::Point(point.clone()), Some(point.into()))
            }
            language => {
                self.fences += 1;
                let fence: Fence = self.held.fence(self.fences)?;
                let behind = match language {
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
                (Signal::Held, behind)
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
            .context("it has ended")?
            .send(job)
            .ok()
            .context("the device has ended")?;
        Ok(behind)
    }

    /// Waits for the next job that is done, as for a buffer that a queue gives back; true where the pixels were right.
    pub(super) fn next_done(&self) -> Result<bool> {
        self.done.recv().context("the device has ended")?
    }

    /// Waits for the end of all jobs; returns how many saw wrong pixels, beyond what was asked for already.
    pub(super) fn stop(mut self) -> Result<u32> {
        drop(self.jobs.take());
        let mut wrong = 0;
        for right in self.done.iter() {
            wrong += u32::from(!right?);
        }
        if let Some(thread) = self.thread.take() {
            ensure!(thread.join().is_ok(), "the device panicked");
        }
        Ok(wrong)
    }
}

/// Does one job; true where the pixels were right.
fn work(job: Job, held: &Held, delay: Duration) -> Result<bool> {
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
        Access::Read => pixels.are(job.number),
    };
    match job.signal {
        Signal::Held => held.advance(1)?,
        Signal::Point(point) => point.signal()?,
    }
    Ok(right)
}

/// Sleeps in poll, as an event loop does.
pub(super) fn sleep_until(moment: &impl Pollable) -> Result<()> {
    let flags = match moment.poll_for() {
        covalent_alloc::sync::PollFor::Input => PollFlags::IN,
        covalent_alloc::sync::PollFor::Output => PollFlags::OUT,
    };
    let mut fds = [PollFd::new(moment, flags)];
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    ensure!(
        moment.is_signalled()?,
        "poll returned before the moment was over"
    );
    Ok(())
}

/// Numbers that look random, the same for the same seed (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: Duration) -> Duration {
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.next() % micros)
    }

    pub(super) fn choose(&mut self, count: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(count.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}
