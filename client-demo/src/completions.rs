//! A channel through which other threads report completed work to the event loop. A report is a number that the program has
//! assigned to the work.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SendError, Sender, channel};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

/// The sending half of the channel. For each number the event loop queues
/// [`Event::Completed`](crate::compositor::Event::Completed).
#[derive(Clone, Debug)]
pub struct CompletionSender {
    numbers: Sender<u64>,
    eventfd: Arc<OwnedFd>,
}

impl CompletionSender {
    /// Sends a number. It does not block.
    ///
    /// # Errors
    ///
    /// [`SendError`] with the number, if the event loop has ended.
    pub fn send(&self, number: u64) -> Result<(), SendError<u64>> {
        self.numbers.send(number)?;
        // The write fails only if the eventfd's counter is at its maximum. The event loop is then about to read the numbers.
        let _ = rustix::io::write(&self.eventfd, &1_u64.to_ne_bytes());
        Ok(())
    }
}

/// The receiving half of the channel, in the event loop.
#[derive(Debug)]
pub(crate) struct CompletionReceiver {
    numbers: Receiver<u64>,
    eventfd: Arc<OwnedFd>,
}

impl CompletionReceiver {
    /// Returns the eventfd. It is incremented after each number is sent.
    pub(crate) fn eventfd(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.eventfd)
    }

    /// Returns the numbers that were sent and not returned yet.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.numbers.try_iter()
    }
}

/// Creates a channel.
pub(crate) fn completion_channel() -> Result<(CompletionSender, CompletionReceiver), Errno> {
    let eventfd = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, receiver) = channel();
    let sender = CompletionSender {
        numbers: sender,
        eventfd: Arc::clone(&eventfd),
    };
    let receiver = CompletionReceiver {
        numbers: receiver,
        eventfd,
    };
    Ok((sender, receiver))
}
