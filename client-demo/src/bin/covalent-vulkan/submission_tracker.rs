//! Submits command buffers and tracks them until the device completes them.
//!
//! A GPU's driver exports a sync file together with the submission, and the event loop polls it. A CPU driver such as llvmpipe
//! has no fence before the work is done: `vkGetSemaphoreFdKHR` would block. Its command buffers are submitted and waited for on a
//! helper thread, which then signals the acquire point and sends the submission's number to the event loop.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::vulkan::{Gpu, Submission, Submitted, VulkanError};
use covalent_alloc::buffer::Buffer;
use covalent_alloc::constraint::SyncMechanism;
use covalent_alloc::sync::{Access, Accessor, Fence, Point, SyncPoint};
use covalent_client_demo::completions::CompletionSender;
use covalent_client_demo::events::Events;
use covalent_client_demo::exit::{Exit, Failure};

use crate::options::CompletionChoice;
use crate::render::RecordedFrame;

/// How often the helper thread interrupts its wait to report a lost device.
const WAIT_INTERVAL: Duration = Duration::from_secs(1);

/// What signals that a submission is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Completion {
    /// A sync file that was exported with the submission.
    SyncFile,
    /// A helper thread that waits for the device.
    HelperThread,
}

/// The submissions that are not complete yet, by number.
#[derive(Debug)]
pub(crate) struct SubmissionTracker {
    method: Method,
    completion_sender: CompletionSender,
    pending: BTreeMap<u64, Option<Submitted>>,
}

/// How the completion of a submission is signalled: by a sync file, or by a thread that waits for it.
#[derive(Debug)]
enum Method {
    SyncFile,
    Thread(Worker),
}

impl SubmissionTracker {
    /// Starts the tracker. With [`CompletionChoice::Auto`] the type of the device decides how completion is signalled.
    ///
    /// # Errors
    /// [`Exit::Unexpected`] if the helper thread cannot be started.
    pub(crate) fn new(
        gpu: &Gpu,
        choice: CompletionChoice,
        completion_sender: CompletionSender,
    ) -> Result<Self, Failure> {
        let by_thread = match choice {
            CompletionChoice::Auto => {
                gpu.exports_wait() || !gpu.device_sync().semaphore_to_sync_file
            }
            CompletionChoice::Fence => false,
            CompletionChoice::Thread => true,
        };
        let method = if by_thread {
            let worker = Worker::start(completion_sender.clone())
                .context("starting a thread")
                .map_err(Failure::unexpected)?;
            Method::Thread(worker)
        } else {
            Method::SyncFile
        };
        Ok(Self {
            method,
            completion_sender,
            pending: BTreeMap::new(),
        })
    }

    /// Returns what signals that a submission is complete.
    pub(crate) fn completion(&self) -> Completion {
        match self.method {
            Method::SyncFile => Completion::SyncFile,
            Method::Thread(_) => Completion::HelperThread,
        }
    }

    /// Returns the device as an accessor for the access tracking of the buffers. A CPU driver waits for no fences.
    pub(crate) fn accessor(&self, gpu: &Gpu) -> Accessor {
        let waits =
            self.completion() == Completion::SyncFile && gpu.device_sync().semaphore_from_sync_file;
        Accessor::new(gpu.name(), waits.then_some(SyncMechanism::SyncFile))
    }

    /// Returns how many submissions are pending.
    pub(crate) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Submits a frame. On completion the frame's number is sent to the event loop, and its acquire point is signalled. Without
    /// an acquire point, a GPU's fence is added to the reservation of the dma-buf. Returns the fence or point that signals the
    /// completion, if there is one.
    ///
    /// # Errors
    /// [`Exit::Unexpected`].
    pub(crate) fn submit(
        &mut self,
        events: &mut Events,
        frame: FrameSubmission<'_>,
    ) -> Result<Option<SyncPoint>, Failure> {
        let number = frame.number;
        let (submitted, completion) = match &self.method {
            Method::Thread(worker) => {
                let completion = frame.acquire.clone().map(SyncPoint::from);
                worker.send(Job {
                    recorded: frame.recorded,
                    number,
                    acquire: frame.acquire,
                });
                (None, completion)
            }
            Method::SyncFile => {
                let (submitted, completion) =
                    submit_with_fence(events, &self.completion_sender, frame)
                        .map_err(Failure::unexpected)?;
                (Some(submitted), completion)
            }
        };
        self.pending.insert(number, submitted);
        Ok(completion)
    }

    /// Removes the submission whose completion the event loop has received. Returns `false` where no such submission is pending.
    ///
    /// # Errors
    /// [`Exit::Unexpected`] if the submission failed.
    pub(crate) fn complete(&mut self, number: u64) -> Result<bool, Failure> {
        let was_pending = self.pending.remove(&number).is_some();
        let failure = match &self.method {
            Method::Thread(worker) => worker.failure(),
            Method::SyncFile => None,
        };
        match failure {
            Some(error) => Err(Failure::new(Exit::Unexpected, error)),
            None => Ok(was_pending),
        }
    }
}

/// A frame's command buffer and its synchronisation.
#[derive(Debug)]
pub(crate) struct FrameSubmission<'a> {
    pub(crate) recorded: RecordedFrame,
    /// The number that the event loop receives on completion.
    pub(crate) number: u64,
    /// The fence that the GPU waits for before it renders.
    pub(crate) wait_fence: Option<Fence>,
    /// The acquire point that is signalled on completion.
    pub(crate) acquire: Option<Point>,
    /// The buffer that the frame is rendered to.
    pub(crate) buffer: &'a Buffer,
}

/// Submits a frame to a GPU and attaches its fence to the acquire point or the dma-buf.
fn submit_with_fence(
    events: &mut Events,
    completion_sender: &CompletionSender,
    frame: FrameSubmission<'_>,
) -> anyhow::Result<(Submitted, Option<SyncPoint>)> {
    let FrameSubmission {
        recorded,
        number,
        wait_fence,
        acquire,
        buffer,
    } = frame;
    let mut submitted = recorded.submit(Submission {
        wait_fences: wait_fence.into_iter().collect(),
        exported: true,
        ..Submission::default()
    })?;
    let Some(fence) = submitted.export()? else {
        if let Some(acquire) = acquire {
            acquire.signal()?;
        }
        completion_sender
            .send(number)
            .map_err(|_| anyhow!("the event loop has ended"))?;
        return Ok((submitted, None));
    };
    match acquire {
        Some(acquire) => acquire.set_fence(&fence)?,
        None => buffer.reservation().add(&fence, Access::Write)?,
    }
    events.watch_completion(fence.try_clone()?, number)?;
    Ok((submitted, Some(fence.into())))
}

/// A recorded frame that the helper thread submits and waits for.
struct Job {
    recorded: RecordedFrame,
    number: u64,
    acquire: Option<Point>,
}

/// The helper thread. When this value is dropped, the thread completes the queued jobs and ends.
#[derive(Debug)]
struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Worker {
    /// Starts the helper thread.
    fn start(completion_sender: CompletionSender) -> std::io::Result<Self> {
        let (jobs, submitted) = channel::<Job>();
        let failure = Arc::new(Mutex::new(None));
        let result = Arc::clone(&failure);
        let thread = thread::Builder::new()
            .name("device".to_owned())
            .spawn(move || {
                for job in submitted {
                    let number = job.number;
                    if let Err(error) = submit_and_signal(job) {
                        *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    }
                    // This fails only when the program is ending and has dropped the receiver.
                    let _ = completion_sender.send(number);
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
            failure,
        })
    }

    /// Gives a job to the helper thread.
    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The send fails only if the thread panicked. Then the panic was printed on stderr, and the frame never completes.
            let _ = jobs.send(job);
        }
    }

    /// Takes the error of the helper thread, if it has failed.
    fn failure(&self) -> Option<anyhow::Error> {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.take()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was already printed on stderr.
            let _ = thread.join();
        }
    }
}

/// Submits a frame, waits for its completion, and signals its acquire point.
fn submit_and_signal(job: Job) -> anyhow::Result<()> {
    submit_and_wait(job.recorded)?;
    if let Some(acquire) = job.acquire {
        acquire.signal()?;
    }
    Ok(())
}

/// Submits a frame, and blocks until the GPU has completed it.
fn submit_and_wait(recorded: RecordedFrame) -> Result<(), VulkanError> {
    let submitted = recorded.submit(Submission::default())?;
    while !submitted.wait(WAIT_INTERVAL)? {}
    Ok(())
}
