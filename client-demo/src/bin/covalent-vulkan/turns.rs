//! How the end of a device's work reaches the event loop, and whoever waits for the picture.
//!
//! A GPU hands out a fence with the work, and the kernel does the rest. A driver that works on the processor has no fence to
//! hand out before it is done: vkGetSemaphoreFdKHR would wait. Its work is given and waited for on a thread of its own, which then
//! signals the acquire point and says so in the event loop's mailbox.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use calloop::channel::Sender as Mailbox;
use covalent_alloc::backend::vulkan::{Gpu, Submission, Submitted, VulkanError};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::SyncLanguage;
use covalent_alloc::sync::{Access, Behind, Fence, Party, Point};
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};

use crate::options::Told;
use crate::render::Recorded;

/// How often the thread looks whether the device still lives.
const LOOK: Duration = Duration::from_secs(1);

/// What tells that work is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Completion {
    /// A fence that was handed out with the work.
    SyncFile,
    /// A thread that waited for it.
    HelperThread,
}

/// Work that devices have been given, by numbers.
#[derive(Debug)]
pub(crate) struct Turns {
    way: Way,
    mailbox: Mailbox<u64>,
    under_way: BTreeMap<u64, Option<Submitted>>,
}

#[derive(Debug)]
enum Way {
    Fences,
    Thread(Worker),
}

impl Turns {
    /// Decides by the device which way its work goes, where nobody says.
    ///
    /// # Errors
    /// [`Exit::Unexpected`] where there is no thread left.
    pub(crate) fn new(gpu: &Gpu, told: Told, mailbox: Mailbox<u64>) -> Result<Self, Failure> {
        let by_thread = match told {
            Told::Auto => gpu.exports_wait() || !gpu.moments().semaphore_to_sync_file,
            Told::Fence => false,
            Told::Thread => true,
        };
        let way = if by_thread {
            let worker = Worker::start(mailbox.clone())
                .context("starting a thread")
                .map_err(|error| Failure::new(Exit::Unexpected, error))?;
            Way::Thread(worker)
        } else {
            Way::Fences
        };
        Ok(Self {
            way,
            mailbox,
            under_way: BTreeMap::new(),
        })
    }

    /// What tells that work is over.
    pub(crate) fn completion(&self) -> Completion {
        match self.way {
            Way::Fences => Completion::SyncFile,
            Way::Thread(_) => Completion::HelperThread,
        }
    }

    /// The device as a ledger knows it: one that works on the processor waits for nothing by itself.
    pub(crate) fn party(&self, gpu: &Gpu) -> Party {
        let waits =
            self.completion() == Completion::SyncFile && gpu.moments().semaphore_from_sync_file;
        Party::new(gpu.name(), waits.then_some(SyncLanguage::SyncFile))
    }

    /// How much work is under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Gives the device commands that draw to `buffer` once `after` is over. When they are over the event loop hears of `number`,
    /// and `acquire` is signalled; without a point a GPU's fence is put on the buffer itself. Returns the moment until which it
    /// draws, where somebody can wait for that.
    ///
    /// # Errors
    /// [`Exit::Unexpected`].
    pub(crate) fn give(
        &mut self,
        events: &mut Events,
        frame: Given<'_>,
    ) -> Result<Option<Behind>, Failure> {
        let number = frame.number;
        let (given, behind) = match &self.way {
            Way::Thread(worker) => {
                let behind = frame.acquire.clone().map(Behind::from);
                worker.give(Job {
                    recorded: frame.recorded,
                    number,
                    acquire: frame.acquire,
                });
                (None, behind)
            }
            Way::Fences => {
                let (submitted, behind) = fenced(events, &self.mailbox, frame)
                    .map_err(|error| Failure::new(Exit::Unexpected, error))?;
                (Some(submitted), behind)
            }
        };
        self.under_way.insert(number, given);
        Ok(behind)
    }

    /// Takes note that the event loop heard of `number`; `false` where it is none of the work under way.
    ///
    /// # Errors
    /// [`Exit::Unexpected`] where the work failed.
    pub(crate) fn over(&mut self, number: u64) -> Result<bool, Failure> {
        let was_under_way = self.under_way.remove(&number).is_some();
        let failure = match &self.way {
            Way::Thread(worker) => worker.failure(),
            Way::Fences => None,
        };
        match failure {
            Some(error) => Err(Failure::new(Exit::Unexpected, error)),
            None => Ok(was_under_way),
        }
    }
}

/// Commands for a device, and who waits for whom.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) recorded: Recorded,
    /// What the event loop hears when they are over.
    pub(crate) number: u64,
    /// What a GPU waits for.
    pub(crate) after: Option<Fence>,
    /// What is signalled when they are over.
    pub(crate) acquire: Option<Point>,
    /// What is drawn to.
    pub(crate) buffer: &'a Buffer,
}

/// Gives commands to a GPU, and its fence to whoever waits.
fn fenced(
    events: &mut Events,
    mailbox: &Mailbox<u64>,
    frame: Given<'_>,
) -> anyhow::Result<(Submitted, Option<Behind>)> {
    let Given {
        recorded,
        number,
        after,
        acquire,
        buffer,
    } = frame;
    let mut submitted = recorded.submit(Submission {
        after: after.into_iter().collect(),
        exported: true,
        ..Submission::default()
    })?;
    let Some(fence) = submitted.export()? else {
        if let Some(acquire) = acquire {
            acquire.signal()?;
        }
        mailbox
            .send(number)
            .map_err(|_| anyhow!("the event loop listens no more"))?;
        return Ok((submitted, None));
    };
    match acquire {
        Some(acquire) => acquire.set_fence(&fence)?,
        None => buffer.reservation().add(&fence, Access::Write)?,
    }
    events.moment(fence.try_clone()?, number)?;
    Ok((submitted, Some(fence.into())))
}

/// Commands for the thread.
struct Job {
    recorded: Recorded,
    number: u64,
    acquire: Option<Point>,
}

/// The thread; it finishes what it has and ends when this is dropped.
#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Worker {
    fn start(mailbox: Mailbox<u64>) -> std::io::Result<Self> {
        let (jobs, given) = channel::<Job>();
        let failure = Arc::new(Mutex::new(None));
        let told = Arc::clone(&failure);
        let thread = thread::Builder::new()
            .name("device".to_owned())
            .spawn(move || {
                for job in given {
                    let number = job.number;
                    if let Err(error) = work(job) {
                        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                    // Nobody listens any more where the program ends.
                    let _ = mailbox.send(number);
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            failure,
        })
    }

    fn give(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread lives as long as this; where it panicked, which is told on stderr, the work never ends.
            let _ = jobs.send(job);
        }
    }

    fn failure(&self) -> Option<anyhow::Error> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been told on stderr.
            let _ = thread.join();
        }
    }
}

/// Has the device do the work, waits for it, and signals the point.
fn work(job: Job) -> anyhow::Result<()> {
    finish(job.recorded)?;
    if let Some(acquire) = job.acquire {
        acquire.signal()?;
    }
    Ok(())
}

fn finish(recorded: Recorded) -> Result<(), VulkanError> {
    let submitted = recorded.submit(Submission::default())?;
    while !submitted.wait(LOOK)? {}
    Ok(())
}
