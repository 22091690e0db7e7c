//! Starts a command when the user does nothing for some time.

use std::time::{Duration, Instant};

use calloop::timer::TimeoutAction;

use crate::event_loop::TimerToken;
use crate::state::State;

/// The timer of the idle time. It does not run while the user is idle, so that an idle compositor does not wake up.
#[derive(Debug, Default)]
pub(super) struct IdleTimer {
    timer: Option<TimerToken>,
    /// The time of the last input, or of the start of the timer.
    last: Option<Instant>,
}

impl State {
    /// Starts the time until the idle command again, after an event of a device or while an inhibitor counts.
    pub(crate) fn postpone_idle_command(&mut self) {
        if self.idle_command_time().is_none() {
            return;
        }
        self.configuration.idle.last = Some(Instant::now());
        if self.configuration.idle.timer.is_none() {
            self.restart_idle_command_timer();
        }
    }

    /// Starts the idle time again with the current configuration.
    pub(super) fn restart_idle_command_timer(&mut self) {
        if let Some(timer) = self.configuration.idle.timer.take() {
            self.handle.remove_timer(timer);
        }
        if let Some(after) = self.idle_command_time() {
            self.configuration.idle.last = Some(Instant::now());
            let timer = self.handle.add_timer(after, Self::idle_command_due);
            self.configuration.idle.timer = Some(timer);
        }
    }

    /// Returns the configured idle time; `None` if nothing is to be started.
    fn idle_command_time(&self) -> Option<Duration> {
        let idle = &self.configuration.current.idle;
        let is_used = idle.after_seconds > 0 && idle.command.is_some();
        is_used.then(|| Duration::from_secs(idle.after_seconds.into()))
    }

    /// Starts the command, or waits again if there was input since the timer was started, or if a visible surface inhibits the idle
    /// state. So input itself changes no timer.
    fn idle_command_due(&mut self) -> TimeoutAction {
        let passed = self.configuration.idle.last.map(|last| last.elapsed());
        let left = self
            .idle_command_time()
            .zip(passed)
            .and_then(|(after, passed)| after.checked_sub(passed))
            .filter(|left| !left.is_zero());
        if let Some(left) = left {
            return TimeoutAction::ToDuration(left);
        }
        self.configuration.idle.timer = None;
        if self.idle.is_inhibited() {
            // The end of the inhibition starts the timer again.
            return TimeoutAction::Drop;
        }
        if let Some(command) = self.configuration.current.idle.command.clone() {
            self.launch_or_warn(&command, "the idle time");
        }
        TimeoutAction::Drop
    }
}
