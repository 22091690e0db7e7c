//! DeviceSync in a calloop event loop.

use std::io;

use calloop::generic::{Generic, NoIoDrop};
use calloop::{EventSource, Interest, Mode, Poll, PostAction, Readiness, Token, TokenFactory};

use super::{PollFor, Pollable};

/// Calls back once, when the moment is over, and leaves the event loop.
///
/// The callback is given the moment, so that it can ask whether a fence has failed.
///
/// # References
/// The documentation of calloop, "EventSource".
#[derive(Debug)]
pub struct PollableSource<M: Pollable> {
    generic: Generic<M>,
}

impl<M: Pollable> PollableSource<M> {
    /// Wraps a moment for `LoopHandle::insert_source`.
    pub fn new(moment: M) -> Self {
        let interest = match moment.poll_for() {
            PollFor::Input => Interest::READ,
            PollFor::Output => Interest::WRITE,
        };
        Self {
            generic: Generic::new(moment, interest, Mode::Level),
        }
    }
}

impl<M: Pollable> EventSource for PollableSource<M> {
    type Event = ();
    type Metadata = NoIoDrop<M>;
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
        self.generic.process_events(readiness, token, |_, moment| {
            callback((), moment);
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
    fn source_of_a_moment_calls_back_once() {
        let mut events: EventLoop<'_, u32> = EventLoop::try_new().unwrap();
        let fd = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let theirs = Event(fd.try_clone().unwrap());
        assert!(!theirs.is_over().unwrap());
        events
            .handle()
            .insert_source(PollableSource::new(theirs), |(), moment, count| {
                assert!(moment.is_over().unwrap());
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
