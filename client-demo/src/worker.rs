//! A thread that does one job after another for an event loop. The event loop waits for results by a file descriptor.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

/// Why a worker cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The eventfd for the results cannot be created.
    #[error("eventfd failed: {0}")]
    Eventfd(std::io::Error),
    /// The thread cannot be started.
    #[error("no thread can be started to {work}: {source}")]
    Thread {
        /// What the thread does, as a phrase for messages.
        work: &'static str,
        /// The error of the system.
        source: std::io::Error,
    },
    /// The thread panicked; its message is on stderr.
    #[error("the thread to {0} has failed")]
    Panicked(&'static str),
}

/// A thread with its job. It has at most one job at a time, so that the jobs that wait stay with the event loop, which can replace
/// them by newer ones.
#[derive(Debug)]
pub struct Worker<Job, Done> {
    work: &'static str,
    /// The channel to the thread. `None` when the worker is dropped.
    jobs: Option<Sender<Job>>,
    results: Receiver<Done>,
    eventfd: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    is_busy: bool,
}

/// The eventfd is readable while a result is ready.
impl<Job, Done> AsFd for Worker<Job, Done> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.eventfd.as_fd()
    }
}

impl<Job: Send + 'static, Done: Send + 'static> Worker<Job, Done> {
    /// Starts a thread that calls `each` for every job. `work` says what it does, as a phrase for messages, such as `decode frames`.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Eventfd`], [`WorkerError::Thread`].
    pub fn start(
        work: &'static str,
        mut each: impl FnMut(Job) -> Done + Send + 'static,
    ) -> Result<Self, WorkerError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let eventfd = eventfd(0, flags).map_err(|error| WorkerError::Eventfd(error.into()))?;
        let eventfd = Arc::new(eventfd);
        let (jobs, received) = channel::<Job>();
        let (sender, results) = channel();
        let signal = Signal(Arc::clone(&eventfd));
        let run = move || {
            // The event loop is also woken when a panic ends the thread, so that it finds out.
            let signal = signal;
            // The sender is dropped before the signal is sent, so that the event loop then finds the end of the thread.
            let sender = sender;
            while let Ok(job) = received.recv() {
                if sender.send(each(job)).is_err() {
                    return;
                }
                signal.send();
            }
        };
        let thread = std::thread::Builder::new()
            .name("worker".to_owned())
            .spawn(run)
            .map_err(|source| WorkerError::Thread { work, source })?;
        Ok(Self {
            work,
            jobs: Some(jobs),
            results,
            eventfd,
            thread: Some(thread),
            is_busy: false,
        })
    }

    /// Returns whether the thread has a job whose result was not taken yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Passes a job to the thread, which must not be busy.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Panicked`].
    pub fn begin(&mut self, job: Job) -> Result<(), WorkerError> {
        debug_assert!(!self.is_busy, "the worker has a job");
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(WorkerError::Panicked(self.work));
        }
        self.is_busy = true;
        Ok(())
    }

    /// Takes the result of the job; `None` while the thread still works, or has no job.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Panicked`].
    pub fn take_result(&mut self) -> Result<Option<Done>, WorkerError> {
        // The read makes the eventfd unreadable. It fails while no result is ready. A result can be taken before the thread has
        // signalled it, so the eventfd is read without a job too.
        let _ = rustix::io::read(&self.eventfd, &mut [0; 8]);
        if !self.is_busy {
            return Ok(None);
        }
        match self.results.try_recv() {
            Ok(result) => {
                self.is_busy = false;
                Ok(Some(result))
            }
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(WorkerError::Panicked(self.work)),
        }
    }
}

impl<Job, Done> Drop for Worker<Job, Done> {
    /// Waits until the thread has finished its job.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic has printed its message already.
            let _ = thread.join();
        }
    }
}

/// Makes the eventfd readable, at the latest when it is dropped.
struct Signal(Arc<OwnedFd>);

impl Signal {
    fn send(&self) {
        // The write fails only if the counter is at its maximum, and then the eventfd is readable.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        self.send();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::poller::{Poller, Trigger};

    use super::*;

    const LIMIT: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn result_wakes_the_event_loop_which_never_waits_for_the_thread() {
        let (go, wait) = channel::<()>();
        let mut worker = Worker::start("add", move |number: u32| {
            wait.recv().unwrap();
            number + 1
        })
        .unwrap();
        let mut poller = Poller::new().unwrap();
        let key = poller.add(&worker, Trigger::Readable).unwrap();
        assert!(worker.take_result().unwrap().is_none());
        for number in 0..3 {
            worker.begin(number).unwrap();
            assert!(worker.is_busy());
            assert!(worker.take_result().unwrap().is_none());
            assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), []);
            go.send(()).unwrap();
            assert_eq!(poller.wait(LIMIT).unwrap(), [key]);
            assert_eq!(worker.take_result().unwrap(), Some(number + 1));
            assert!(!worker.is_busy());
            assert_eq!(poller.wait(Some(Duration::ZERO)).unwrap(), []);
        }
    }

    #[test]
    fn panic_of_the_thread_wakes_the_event_loop_and_is_an_error() {
        let mut worker = Worker::start("fail", |(): ()| panic!("on purpose")).unwrap();
        let mut poller = Poller::new().unwrap();
        poller.add(&worker, Trigger::Readable).unwrap();
        worker.begin(()).unwrap();
        assert_eq!(poller.wait(LIMIT).unwrap().len(), 1);
        // The channel is closed after the eventfd was written.
        let error = loop {
            match worker.take_result() {
                Ok(None) => std::thread::yield_now(),
                Ok(Some(())) => panic!("there is no result"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.to_string(), "the thread to fail has failed");
    }

    #[test]
    fn drop_waits_for_the_job() {
        let (sender, receiver) = channel();
        let mut worker = Worker::start("sleep", move |(): ()| {
            std::thread::sleep(Duration::from_millis(20));
            sender.send(()).unwrap();
        })
        .unwrap();
        worker.begin(()).unwrap();
        drop(worker);
        assert!(receiver.try_recv().is_ok());
    }
}
