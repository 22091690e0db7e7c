//! The event loop.
//!
//! ```text
//!   clients' connections ──┐
//!   cards ─────────────────┼─▶ epoll ──▶ callbacks, expired timers, idle callbacks ──▶ State::after_dispatch
//!   calloop's epoll ───────┘     ▲ timeout: the next timer
//!    └ input, session, hotplug, signals, sockets, fences
//! ```
//!
//! calloop makes five system calls in each iteration: it sets a timerfd, and re-enables the timerfd and its notifier. Each frame
//! takes three iterations, so this module itself watches the file descriptors and timers that every frame needs. A file
//! descriptor stays registered with epoll, and a timer needs no system call. All other sources are added to calloop, which is
//! dispatched only when one of them is ready.

mod sys;
mod timers;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use calloop::timer::TimeoutAction;
use calloop::{Interest, Readiness};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use self::timers::Timers;
use crate::state::State;

pub use self::timers::TimerToken;

/// The epoll key of calloop's own epoll file descriptor.
const CALLOOP: u64 = 0;
/// The maximum number of ready file descriptors in one iteration. Further ones are handled in the next iteration.
const EVENTS_MAX: usize = 64;

/// The event loop.
pub struct EventLoop {
    calloop: calloop::EventLoop<'static, State>,
    handle: LoopHandle,
    events: Vec<epoll::Event>,
}

/// Adds sources to the event loop. It dereferences to calloop's handle, for sources that not every frame needs.
#[derive(Clone, Debug)]
pub struct LoopHandle {
    calloop: calloop::LoopHandle<'static, State>,
    shared: Rc<Shared>,
}

/// Identifies a file descriptor that the event loop watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchToken(u64);

/// Whether the event loop still watches a file descriptor after its callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchAction {
    /// The event loop still watches the file descriptor.
    Continue,
    /// The event loop no longer watches the file descriptor.
    Remove,
}

/// Called when a watched file descriptor is ready.
type WatchCallback = Rc<RefCell<dyn FnMut(Readiness, &mut State) -> WatchAction>>;
/// Called once at the end of an iteration of the event loop.
type IdleCallback = Box<dyn FnOnce(&mut State)>;

/// A watched file descriptor.
struct Watch {
    file: Rc<dyn AsFd>,
    callback: WatchCallback,
}

/// What the event loop and all handles share.
struct Shared {
    epoll: OwnedFd,
    watches: RefCell<HashMap<u64, Watch>>,
    last_watch: Cell<u64>,
    timers: RefCell<Timers>,
    idle: RefCell<Vec<IdleCallback>>,
    is_stopped: Cell<bool>,
}

impl EventLoop {
    /// Creates an event loop without sources.
    ///
    /// # Errors
    ///
    /// When the process has no file descriptors left.
    pub fn try_new() -> io::Result<Self> {
        let calloop = calloop::EventLoop::try_new().map_err(io::Error::other)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            calloop.as_fd(),
            EventData::new_u64(CALLOOP),
            EventFlags::IN,
        )?;
        let shared = Shared {
            epoll,
            watches: RefCell::default(),
            last_watch: Cell::new(CALLOOP),
            timers: RefCell::default(),
            idle: RefCell::default(),
            is_stopped: Cell::new(false),
        };
        let handle = LoopHandle {
            calloop: calloop.handle(),
            shared: Rc::new(shared),
        };
        Ok(Self {
            calloop,
            handle,
            events: Vec::with_capacity(EVENTS_MAX),
        })
    }

    /// Returns the handle by which sources are added.
    pub fn handle(&self) -> LoopHandle {
        self.handle.clone()
    }

    /// Waits until a source is ready, a timer expires or `timeout` elapses, and calls the callbacks.
    ///
    /// # Errors
    ///
    /// When `epoll_wait` or the dispatch of a calloop source fails.
    pub fn dispatch(&mut self, timeout: Option<Duration>, state: &mut State) -> io::Result<()> {
        let shared = self.handle.shared.clone();
        let next = shared.timers.borrow().next(Instant::now());
        let has_idle = !shared.idle.borrow().is_empty();
        let timeout = if has_idle {
            Some(Duration::ZERO)
        } else {
            timeout.into_iter().chain(next).min()
        };
        match sys::wait(&shared.epoll, &mut self.events, timeout) {
            Ok(()) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let last = shared.timers.borrow().last();
        for event in self.events.drain(..) {
            let key = event.data.u64();
            if key == CALLOOP {
                self.calloop
                    .dispatch(Some(Duration::ZERO), state)
                    .map_err(io::Error::other)?;
            } else {
                shared.call(key, event.flags, state);
            }
            // Expired timers are called after each event, so that a frame is drawn at its deadline even while many clients send
            // requests.
            shared.call_expired(last, state);
        }
        shared.call_expired(last, state);
        let idle = shared.idle.take();
        for callback in idle {
            callback(state);
        }
        Ok(())
    }

    /// Dispatches until [`LoopHandle::stop`] is called; calls `after` at the end of each iteration.
    ///
    /// # Errors
    ///
    /// The errors of [`dispatch`](Self::dispatch).
    pub fn run(&mut self, state: &mut State, mut after: impl FnMut(&mut State)) -> io::Result<()> {
        while !self.handle.shared.is_stopped.get() {
            self.dispatch(None, state)?;
            after(state);
        }
        Ok(())
    }
}

impl LoopHandle {
    /// Watches a file descriptor: calls a callback in each iteration in which the file descriptor is ready (level-triggered). It
    /// is kept open until [`unwatch`](Self::unwatch) is called, or the callback returns [`WatchAction::Remove`].
    ///
    /// # Errors
    ///
    /// When the kernel cannot watch the file descriptor.
    pub fn watch(
        &self,
        file: Rc<dyn AsFd>,
        interest: Interest,
        callback: impl FnMut(Readiness, &mut State) -> WatchAction + 'static,
    ) -> io::Result<WatchToken> {
        let shared = &self.shared;
        let key = shared.last_watch.get().wrapping_add(1);
        shared.last_watch.set(key);
        epoll::add(
            &shared.epoll,
            &*file,
            EventData::new_u64(key),
            flags(interest),
        )?;
        let watch = Watch {
            file,
            callback: Rc::new(RefCell::new(callback)),
        };
        shared.watches.borrow_mut().insert(key, watch);
        Ok(WatchToken(key))
    }

    /// Changes the readiness for which a file descriptor is watched.
    ///
    /// # Errors
    ///
    /// When the kernel cannot watch the file descriptor.
    pub fn set_interest(&self, token: WatchToken, interest: Interest) -> io::Result<()> {
        let watches = self.shared.watches.borrow();
        if let Some(watch) = watches.get(&token.0) {
            let data = EventData::new_u64(token.0);
            epoll::modify(&self.shared.epoll, &*watch.file, data, flags(interest))?;
        }
        Ok(())
    }

    /// Stops watching a file descriptor. This may be done in its own callback.
    pub fn unwatch(&self, token: WatchToken) {
        self.shared.remove(token.0);
    }

    /// Adds a timer, which calls a callback after the time `delay`. If the callback returns another time, it is called again.
    pub fn add_timer(
        &self,
        delay: Duration,
        callback: impl FnMut(&mut State) -> TimeoutAction + 'static,
    ) -> TimerToken {
        // A timer whose time is beyond the range of the clock never expires.
        let at = Instant::now().checked_add(delay);
        let mut timers = self.shared.timers.borrow_mut();
        timers.add(at, Box::new(callback))
    }

    /// Removes a timer; does nothing if it has expired. This may be done in its own callback.
    pub fn remove_timer(&self, token: TimerToken) {
        let removed = self.shared.timers.borrow_mut().remove(token);
        // The callback is dropped after the borrow of the timers has ended, because values that the callback owns may use the
        // timers when they are dropped.
        drop(removed);
    }

    /// Calls a callback once at the end of this iteration.
    pub fn insert_idle(&self, callback: impl FnOnce(&mut State) + 'static) {
        self.shared.idle.borrow_mut().push(Box::new(callback));
    }

    /// Ends [`EventLoop::run`] after this iteration.
    pub fn stop(&self) {
        self.shared.is_stopped.set(true);
    }

    /// Returns whether [`EventLoop::run`] ends after this iteration.
    pub fn is_stopped(&self) -> bool {
        self.shared.is_stopped.get()
    }
}

impl Deref for LoopHandle {
    type Target = calloop::LoopHandle<'static, State>;

    fn deref(&self) -> &Self::Target {
        &self.calloop
    }
}

impl Shared {
    /// Calls the callback of a file descriptor that is ready.
    fn call(&self, key: u64, ready: EventFlags, state: &mut State) {
        // A callback that was called earlier in this iteration may have removed the file descriptor.
        let callback = self
            .watches
            .borrow()
            .get(&key)
            .map(|watch| watch.callback.clone());
        let Some(callback) = callback else {
            return;
        };
        let is_over = ready.intersects(EventFlags::HUP | EventFlags::ERR);
        let readiness = Readiness {
            readable: is_over || ready.contains(EventFlags::IN),
            writable: is_over || ready.contains(EventFlags::OUT),
            error: ready.contains(EventFlags::ERR),
        };
        let action = (callback.borrow_mut())(readiness, state);
        if action == WatchAction::Remove {
            self.remove(key);
        }
    }

    /// Calls the expired timers that were added no later than `last`. A timer that a callback adds is called in the next
    /// iteration at the earliest.
    fn call_expired(&self, last: TimerToken, state: &mut State) {
        let now = Instant::now();
        loop {
            let expired = self.timers.borrow_mut().take_expired(now, last);
            let Some((token, mut callback)) = expired else {
                return;
            };
            let again = match callback(state) {
                TimeoutAction::Drop => None,
                TimeoutAction::ToInstant(at) => Some(at),
                TimeoutAction::ToDuration(after) => Instant::now().checked_add(after),
            };
            self.timers.borrow_mut().finish(token, callback, again);
        }
    }

    fn remove(&self, key: u64) {
        let removed = self.watches.borrow_mut().remove(&key);
        if let Some(watch) = removed {
            // The file descriptor is removed explicitly: while a duplicate of it is open, closing it does not remove it from the
            // epoll set.
            if let Err(error) = epoll::delete(&self.epoll, &*watch.file) {
                tracing::warn!(%error, "a file descriptor cannot be removed from the event loop");
            }
        }
    }
}

/// Returns the epoll events for this readiness.
fn flags(interest: Interest) -> EventFlags {
    let mut flags = EventFlags::empty();
    flags.set(EventFlags::IN, interest.readable);
    flags.set(EventFlags::OUT, interest.writable);
    flags
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("EventLoop").finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_struct("Shared")
            .field("watches", &self.watches.borrow().len())
            .field("timers", &self.timers.borrow())
            .finish_non_exhaustive()
    }
}
