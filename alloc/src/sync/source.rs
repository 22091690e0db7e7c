//! An event source for calloop.

use std::io;

use calloop::generic::{Generic, NoIoDrop};
use calloop::{EventSource, Interest, Mode, Poll, PostAction, Readiness, Token, TokenFactory};

use super::{PollFor, Pollable};

/// An event source that calls its callback once, when a fence or wait is signalled, and then removes itself from the event loop.
///
/// The callback receives the fence or wait, so that it can query whether a fence has an error.
///
/// # References
/// The documentation of calloop, "EventSource".
#[derive(Debug)]
pub struct PollableSource<P: Pollable> {
    generic: Generic<P>,
}

impl<P: Pollable> PollableSource<P> {
    /// Wraps a fence or wait for `LoopHandle::insert_source`.
    pub fn new(pollable: P) -> Self {
        let interest = match pollable.poll_for() {
            PollFor::Input => Interest::READ,
            PollFor::Output => Interest::WRITE,
        };
        Self {
            generic: Generic::new(pollable, interest, Mode::Level),
        }
    }
}

impl<P: Pollable> EventSource for PollableSource<P> {
    type Event = ();
    type Metadata = NoIoDrop<P>;
    type Ret = ();
    type Error = io::Error;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: F,
    ) -> Result<PostAction, Self::Error>
    where
        F: FnMut(Self::Event, &mut Self::Metadata) -> Self::Ret,
    {
        self.generic
            .process_events(readiness, token, |_, pollable| {
                callback((), pollable);
                Ok(PostAction::Remove)
            })
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.generic.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.generic.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.generic.unregister(poll)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    use calloop::EventLoop;
    use rustix::event::{EventfdFlags, eventfd};
    use rustix::io::write;

    use super::*;

    struct Event(OwnedFd);

    impl AsFd for Event {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Pollable for Event {}

    #[test]
    fn source_whose_fd_becomes_readable_calls_back_once() {
        let mut events: EventLoop<'_, u32> = EventLoop::try_new().unwrap();
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let duplicate = Event(fd.try_clone().unwrap());
        assert!(!duplicate.is_signalled().unwrap());
        events
            .handle()
            .insert_source(PollableSource::new(duplicate), |(), pollable, count| {
                assert!(pollable.is_signalled().unwrap());
                *count += 1;
            })
            .unwrap();
        let mut count = 0;
        events.dispatch(Some(Duration::ZERO), &mut count).unwrap();
        assert_eq!(count, 0);
        write(&fd, &1_u64.to_ne_bytes()).unwrap();
        for _ in 0..3 {
            events.dispatch(Some(Duration::ZERO), &mut count).unwrap();
        }
        assert_eq!(count, 1);
    }
}
