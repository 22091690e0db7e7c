//! The timers of the event loop.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use calloop::timer::TimeoutAction;

use crate::state::State;

/// Identifies a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerToken(u64);

pub(super) type TimerCallback = Box<dyn FnMut(&mut State) -> TimeoutAction>;

/// A timer that was not removed.
struct Timer {
    /// The time at which it expires; `None` if that is beyond the range of the clock.
    at: Option<Instant>,
    /// The callback; `None` while it runs.
    callback: Option<TimerCallback>,
}

/// The timers, sorted by time. The timers use no timerfd: the earliest one is the timeout of `epoll_wait`.
#[derive(Default)]
pub(super) struct Timers {
    timers: HashMap<TimerToken, Timer>,
    order: BTreeSet<(Instant, TimerToken)>,
    last: u64,
}

impl Timers {
    /// Adds a timer.
    pub(super) fn add(&mut self, at: Option<Instant>, callback: TimerCallback) -> TimerToken {
        self.last = self.last.wrapping_add(1);
        let token = TimerToken(self.last);
        let timer = Timer {
            at,
            callback: Some(callback),
        };
        self.timers.insert(token, timer);
        self.order.extend(at.map(|at| (at, token)));
        token
    }

    /// Removes a timer. Returns its callback, unless the callback runs now.
    pub(super) fn remove(&mut self, token: TimerToken) -> Option<TimerCallback> {
        let timer = self.timers.remove(&token)?;
        if let Some(at) = timer.at {
            self.order.remove(&(at, token));
        }
        timer.callback
    }

    /// Returns the time from `now` until the next timer expires; `None` if there is none.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        let (at, _) = self.order.first()?;
        Some(at.saturating_duration_since(now))
    }

    /// Returns the timer that was added last.
    pub(super) fn last(&self) -> TimerToken {
        TimerToken(self.last)
    }

    /// Takes the callback of a timer that has expired at `now` and was added no later than `last`; `None` if there is none.
    pub(super) fn take_expired(
        &mut self,
        now: Instant,
        last: TimerToken,
    ) -> Option<(TimerToken, TimerCallback)> {
        let mut expired = self.order.iter().take_while(|(at, _)| *at <= now);
        let (at, token) = *expired.find(|(_, token)| *token <= last)?;
        self.order.remove(&(at, token));
        let timer = self.timers.get_mut(&token)?;
        timer.at = None;
        Some((token, timer.callback.take()?))
    }

    /// Stores a timer's callback again after its call. The timer expires next at the time `again`; with `None`, the timer is
    /// removed.
    pub(super) fn finish(
        &mut self,
        token: TimerToken,
        callback: TimerCallback,
        again: Option<Instant>,
    ) {
        let Some(again) = again else {
            self.timers.remove(&token);
            return;
        };
        // The callback may have removed its own timer.
        if let Some(timer) = self.timers.get_mut(&token) {
            timer.at = Some(again);
            timer.callback = Some(callback);
            self.order.insert((again, token));
        }
    }
}

impl fmt::Debug for Timers {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_list().entries(&self.order).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callback() -> TimerCallback {
        Box::new(|_| TimeoutAction::Drop)
    }

    #[test]
    fn timers_expire_in_the_order_of_their_times() {
        let start = Instant::now();
        let after = |ms| Some(start + Duration::from_millis(ms));
        let mut timers = Timers::default();
        let late = timers.add(after(20), callback());
        let early = timers.add(after(10), callback());
        timers.add(None, callback());
        assert_eq!(timers.next(start), Some(Duration::from_millis(10)));
        let last = timers.last();
        assert!(timers.take_expired(start, last).is_none());
        let mut now = start + Duration::from_millis(30);
        assert_eq!(timers.next(now), Some(Duration::ZERO));
        let expired = |timers: &mut Timers, now| {
            let (token, callback) = timers.take_expired(now, last)?;
            timers.finish(token, callback, None);
            Some(token)
        };
        assert_eq!(expired(&mut timers, now), Some(early));
        assert_eq!(expired(&mut timers, now), Some(late));
        now += Duration::from_secs(1000);
        assert_eq!(expired(&mut timers, now), None);
        assert_eq!(timers.next(now), None);
    }

    #[test]
    fn timer_that_a_callback_adds_waits_for_the_next_iteration() {
        let now = Instant::now();
        let mut timers = Timers::default();
        timers.add(Some(now), callback());
        let last = timers.last();
        let (token, first) = timers.take_expired(now, last).unwrap();
        let added = timers.add(Some(now), callback());
        timers.finish(token, first, Some(now));
        // The timer that was set again is called again. `now` is earlier than its new time.
        assert_eq!(
            timers.take_expired(now, last).map(|(token, _)| token),
            Some(token)
        );
        assert!(timers.take_expired(now, last).is_none());
        let last = timers.last();
        assert_eq!(
            timers.take_expired(now, last).map(|(token, _)| token),
            Some(added)
        );
    }

    #[test]
    fn timer_that_is_removed_in_its_callback_does_not_return() {
        let now = Instant::now();
        let mut timers = Timers::default();
        let token = timers.add(Some(now), callback());
        let last = timers.last();
        let (_, running) = timers.take_expired(now, last).unwrap();
        assert!(timers.remove(token).is_none());
        timers.finish(token, running, Some(now));
        assert_eq!(timers.next(now), None);
        let waiting = timers.add(Some(now), callback());
        assert!(timers.remove(waiting).is_some());
        assert_eq!(timers.next(now), None);
    }
}
