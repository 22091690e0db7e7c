//! Waits for file descriptors by epoll, with one system call per wait.
//!
//! A registration stays until it is removed, and a timeout is an argument of the wait. A wait therefore costs one `epoll_wait`
//! unless a file descriptor was added or removed: no timer is armed and no registration is renewed. The crates calloop, polling
//! and mio make more system calls, or are edge-triggered for every source, which costs a second read of each camera and socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// The maximum number of events that one wait returns. The next wait returns the remaining events immediately.
const EVENTS: usize = 32;

/// The condition under which a registered file descriptor is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// The file descriptor is reported as long as it is readable.
    Readable,
    /// The file descriptor is reported as long as it is writable.
    Writable,
    /// The file descriptor is reported each time that it becomes readable (edge-triggered). Each increment of an eventfd is
    /// reported, so the counter need not be read.
    Increment,
}

/// The number of a registration. Numbers are not reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u64);

/// An epoll instance with its registered file descriptors.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    next: u64,
}

/// The epoll file descriptor is readable while a registered file descriptor is ready, so that another poller can watch all of
/// them through it.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Poller {
    /// Creates a poller without file descriptors.
    ///
    /// # Errors
    /// The error of epoll_create(2).
    pub fn new() -> Result<Self, Errno> {
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            next: 0,
        })
    }

    /// Registers a file descriptor. Failures and hang-ups are reported as readable.
    ///
    /// # Errors
    /// The error of epoll_ctl(2).
    pub fn add(&mut self, fd: impl AsFd, trigger: Trigger) -> Result<Key, Errno> {
        let flags = match trigger {
            Trigger::Readable => epoll::EventFlags::IN,
            Trigger::Writable => epoll::EventFlags::OUT,
            Trigger::Increment => epoll::EventFlags::IN | epoll::EventFlags::ET,
        };
        let key = Key(self.next);
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(key.0), flags)?;
        self.next = self.next.saturating_add(1);
        Ok(key)
    }

    /// Removes the registration of a file descriptor.
    ///
    /// # Errors
    /// The error of epoll_ctl(2).
    pub fn remove(&self, fd: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.epoll, fd)
    }

    /// Waits until a file descriptor is reported, for `timeout` at most. A signal ends the wait with an empty list.
    ///
    /// # Errors
    /// The error of epoll_wait(2).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Vec<Key>, Errno> {
        // epoll_wait takes whole milliseconds. The timeout is rounded up, so that the wait does not end too early.
        let timeout = timeout.map(|timeout| {
            let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
            let milliseconds = i32::try_from(milliseconds).unwrap_or(i32::MAX);
            Timespec {
                tv_sec: (milliseconds / 1000).into(),
                tv_nsec: (milliseconds % 1000 * 1_000_000).into(),
            }
        });
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) => Ok(events.iter().map(|event| Key(event.data.u64())).collect()),
            Err(Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    const NOW: Option<Duration> = Some(Duration::ZERO);

    fn counter() -> OwnedFd {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
    }

    fn increment(counter: &OwnedFd) {
        rustix::io::write(counter, &1_u64.to_ne_bytes()).unwrap();
    }

    #[test]
    fn readable_descriptor_is_reported_until_it_is_read() {
        let mut poller = Poller::new().unwrap();
        let fd = counter();
        let key = poller.add(&fd, Trigger::Readable).unwrap();
        assert_eq!(poller.wait(NOW).unwrap(), []);
        increment(&fd);
        assert_eq!(poller.wait(NOW).unwrap(), [key]);
        assert_eq!(poller.wait(NOW).unwrap(), [key]);
        rustix::io::read(&fd, &mut [0; 8]).unwrap();
        assert_eq!(poller.wait(NOW).unwrap(), []);
    }

    #[test]
    fn poller_that_another_one_watches_is_reported_while_it_has_events() {
        let (mut inner, mut outer) = (Poller::new().unwrap(), Poller::new().unwrap());
        let key = outer.add(&inner, Trigger::Readable).unwrap();
        let fd = counter();
        inner.add(&fd, Trigger::Readable).unwrap();
        assert_eq!(outer.wait(NOW).unwrap(), []);
        increment(&fd);
        assert_eq!(outer.wait(NOW).unwrap(), [key]);
        rustix::io::read(&fd, &mut [0; 8]).unwrap();
        assert_eq!(outer.wait(NOW).unwrap(), []);
    }

    #[test]
    fn increment_of_a_counter_that_is_never_read_is_reported_once() {
        let mut poller = Poller::new().unwrap();
        let fd = counter();
        let key = poller.add(&fd, Trigger::Increment).unwrap();
        for _ in 0..3 {
            increment(&fd);
            assert_eq!(poller.wait(NOW).unwrap(), [key]);
            assert_eq!(poller.wait(NOW).unwrap(), []);
        }
    }

    #[test]
    fn removed_descriptor_is_not_reported_and_its_key_is_not_used_again() {
        let mut poller = Poller::new().unwrap();
        let fd = counter();
        let first = poller.add(&fd, Trigger::Readable).unwrap();
        increment(&fd);
        poller.remove(&fd).unwrap();
        assert_eq!(poller.wait(NOW).unwrap(), []);
        let second = poller.add(&fd, Trigger::Writable).unwrap();
        assert_ne!(first, second);
        assert_eq!(poller.wait(NOW).unwrap(), [second]);
    }
}
