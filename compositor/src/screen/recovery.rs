//! Frames that the output does not take, and flips that it does not tell of: tried again by timers, for as long as it takes.
//!
//! ```text
//!   commit fails ──▶ wait (2 ms, then twice as long each time, a second at most) ──▶ the scene as it is then is submitted
//!   no page-flip event within FLIP_PATIENCE ──▶ the frame counts as lost ──▶ everything is set and shown anew
//!   a buffer cannot be read ──▶ the frame is shown without its surface ──▶ wait ──▶ that part is drawn again
//! ```
//!
//! While the compositor waits, commits of clients are gathered and do not hurry it. Frame callbacks and presentation feedback
//! stay with the frame that is tried again.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};

use super::Frame;
use crate::backend::ModeError;
use crate::clock;
use crate::compose::MissingLayer;
use crate::run::exit;
use crate::scene::{SceneLayer, Shown};
use crate::state::State;
use crate::transient::{Backoff, FaultKind};

/// How long a page-flip event may take. A refresh takes some milliseconds, an emulated machine on a busy host some hundred.
const FLIP_TIMEOUT: Duration = Duration::from_secs(4);

/// How long a display may refuse its first frame for reasons that pass, until it counts as none.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// Attempts to show a client's buffer itself that fail for a moment, before the frame is composed instead.
const SCANOUT_ATTEMPTS: u32 = 4;

/// Failures in a row after which everything that the display is set to is set again.
const RESET_AFTER: u32 = 3;

/// Attempts to draw a surface whose buffer cannot be read: over two seconds in all.
const READ_ATTEMPTS: u32 = 10;

/// Attempts to set a mode that a window asks for, until it is shown in the mode that there is.
const MODE_ATTEMPTS: u32 = 10;

/// What failed since the last frame that the output took.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    commit_backoff: Backoff,
    /// A timer submits the next attempt.
    retry_scheduled: bool,
    failing_since: Option<Duration>,
    cause: Option<String>,
    /// A timer looks whether the page-flip event is overdue.
    flip_watched: bool,
    read_backoff: Backoff,
    mode_backoff: Backoff,
    /// A timer asks for a frame, for a part of one that failed.
    redraw_scheduled: bool,
    hotplug_backoff: Backoff,
    /// A timer asks the card again what is plugged in.
    hotplug_scheduled: bool,
}

/// What a frame took that was submitted more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RetryInfo {
    pub(super) count: u32,
    pub(super) cause: Option<String>,
}

impl Recovery {
    /// Tells whether the next attempt has its time already.
    pub(super) fn is_waiting(&self) -> bool {
        self.retry_scheduled
    }

    /// Tells whether a client's buffer is to be tried on the display itself again, after a failure that passes.
    pub(super) fn should_retry_scanout(&self) -> bool {
        self.commit_backoff.attempts() < SCANOUT_ATTEMPTS
    }

    /// Tells what the frame took that the output has just taken.
    pub(super) fn frame_submitted(&mut self) -> RetryInfo {
        let retried = RetryInfo {
            count: self.commit_backoff.attempts(),
            cause: self.cause.take(),
        };
        if retried.count > 0 {
            tracing::info!(attempts = retried.count, "the output takes frames again");
        }
        self.commit_backoff.reset();
        self.failing_since = None;
        retried
    }

    fn failed(&mut self, cause: String) -> Duration {
        if self.commit_backoff.attempts() == 0 {
            tracing::warn!("a frame is tried again: {cause}");
        } else {
            tracing::debug!(attempts = self.commit_backoff.attempts(), "again: {cause}");
        }
        self.cause = Some(cause);
        self.failing_since.get_or_insert_with(clock::now);
        self.commit_backoff.next_delay()
    }
}

impl State {
    /// Plans to submit the frame again that the output did not take.
    pub(super) fn frame_failed(&mut self, error: anyhow::Error) {
        let kind = FaultKind::of(&*error);
        let screen = &mut self.screen;
        let delay = screen.recovery.failed(format!("{error:#}"));
        let failing_for = screen
            .recovery
            .failing_since
            .map_or(Duration::ZERO, |since| clock::now().saturating_sub(since));
        // A display that does not even take the first frame is none.
        if !screen.first_frame_submitted
            && (kind == FaultKind::Permanent || failing_for > FIRST_FRAME_TIMEOUT)
        {
            let error = error.context("the display shows nothing, not even a first frame");
            self.fail_with(exit::NO_DISPLAY, error);
            return;
        }
        screen.backend.swapchain().damage_all();
        // Whoever was DRM master meanwhile set the display to something else.
        let attempts = screen.recovery.commit_backoff.attempts();
        let is_persistent = kind == FaultKind::Permanent && attempts >= RESET_AFTER;
        if kind == FaultKind::NotMaster || is_persistent {
            screen.backend.reset();
        }
        self.retry_after(delay);
    }

    /// Redraws after a delay, and not before.
    fn retry_after(&mut self, delay: Duration) {
        self.screen.redraw_needed = true;
        let timer = Timer::from_duration(delay);
        let scheduled = self.handle.insert_source(timer, |_, (), state: &mut Self| {
            // The round of the event loop ends with the attempt.
            state.screen.recovery.retry_scheduled = false;
            TimeoutAction::Drop
        });
        // Without a timer the next event of any kind brings the next attempt.
        self.screen.recovery.retry_scheduled = scheduled.is_ok();
    }

    /// Sees to it that a frame in flight whose event does not come is given up.
    pub(super) fn watch_flip(&mut self) {
        if self.screen.recovery.flip_watched {
            return;
        }
        let timer = Timer::from_duration(FLIP_TIMEOUT);
        let scheduled = self
            .handle
            .insert_source(timer, |_, (), state: &mut Self| state.check_flip_timeout());
        self.screen.recovery.flip_watched = scheduled.is_ok();
    }

    fn check_flip_timeout(&mut self) -> TimeoutAction {
        let left = |state: &Self| {
            let since = state.screen.backend.in_flight_since()?;
            Some(FLIP_TIMEOUT.saturating_sub(clock::now().saturating_sub(since)))
        };
        if left(self).is_some_and(|left| left.is_zero()) {
            // After a pause of this whole program the event may be there, and only its turn has not come.
            self.card_events();
        }
        match left(self) {
            None => {}
            Some(left) if !left.is_zero() => return TimeoutAction::ToDuration(left),
            Some(_) => self.handle_lost_flip(),
        }
        self.screen.recovery.flip_watched = false;
        TimeoutAction::Drop
    }

    /// Shows everything anew, since nobody knows what the display shows.
    fn handle_lost_flip(&mut self) {
        let screen = &mut self.screen;
        screen.backend.abandon();
        screen.backend.reset();
        screen.backend.swapchain().damage_all();
        screen.shown = Shown::default();
        let seconds = FLIP_TIMEOUT.as_secs();
        let output = screen.backend.name();
        let cause = format!("{output} sent no page-flip event for a frame within {seconds} s");
        let delay = screen.recovery.failed(cause);
        self.abandon_frame();
        self.retry_after(delay);
    }

    /// Gives up on a frame that may or may not reach the display; its buffers go back when another one is seen there.
    pub(super) fn abandon_frame(&mut self) {
        if let Some(writeback) = self.screen.writeback() {
            writeback.abandon();
        }
        if let Some(mut frame) = self.screen.in_flight.take() {
            frame.feedback.discard();
            self.screen.abandoned_frames.push(frame);
        }
        self.schedule_callbacks();
    }

    /// Plans to draw surfaces again that are missing in the frame, because their buffers could not be read for a moment.
    ///
    /// Called when the frame has been submitted, and the surfaces' damage is taken as drawn.
    pub(super) fn retry_missing_layers(&mut self, visible: &[SceneLayer], frame: &mut Frame) {
        let failed = std::mem::take(&mut frame.failed);
        if failed.is_empty() {
            self.screen.recovery.read_backoff.reset();
            return;
        }
        let mut needs_retry = false;
        for MissingLayer { layer, error } in failed {
            let Some(layer) = visible.get(layer) else {
                continue;
            };
            let left_out = format!("{}: {error}", layer.window.name());
            frame.record.left_out.push(left_out);
            if !FaultKind::of_io(&error).is_transient() {
                continue;
            }
            if layer.content.count_failed_read() < READ_ATTEMPTS {
                self.stack.surface(&layer.surface).damage_all();
                needs_retry = true;
            }
        }
        if needs_retry {
            let delay = self.screen.recovery.read_backoff.next_delay();
            self.redraw_after(delay);
        }
    }

    /// Asks for a frame after a delay; what clients commit meanwhile is shown meanwhile.
    fn redraw_after(&mut self, delay: Duration) {
        if self.screen.recovery.redraw_scheduled {
            return;
        }
        let timer = Timer::from_duration(delay);
        let scheduled = self.handle.insert_source(timer, |_, (), state: &mut Self| {
            state.screen.recovery.redraw_scheduled = false;
            state.screen.schedule_redraw();
            TimeoutAction::Drop
        });
        self.screen.recovery.redraw_scheduled = scheduled.is_ok();
    }

    /// Plans to set the mode again that a fullscreen window asks for.
    pub(super) fn mode_failed(&mut self, error: &ModeError) {
        tracing::warn!("{error}");
        let mode_backoff = &mut self.screen.recovery.mode_backoff;
        let delay = mode_backoff.next_delay();
        if FaultKind::of(error).is_transient() && mode_backoff.attempts() < MODE_ATTEMPTS {
            self.redraw_after(delay);
        }
    }

    /// Notes that the mode is the one that it is to be.
    pub(super) fn mode_succeeded(&mut self) {
        self.screen.recovery.mode_backoff.reset();
    }

    /// Plans to ask the card again what is plugged in, where it failed for a moment.
    pub(super) fn hotplug_failed(&mut self, error: &ModeError) {
        tracing::warn!("a display that was plugged or unplugged: {error}");
        let recovery = &mut self.screen.recovery;
        if FaultKind::of(error) == FaultKind::Permanent || recovery.hotplug_scheduled {
            return;
        }
        let timer = Timer::from_duration(recovery.hotplug_backoff.next_delay());
        let scheduled = self.handle.insert_source(timer, |_, (), state: &mut Self| {
            state.screen.recovery.hotplug_scheduled = false;
            state.hotplug();
            TimeoutAction::Drop
        });
        self.screen.recovery.hotplug_scheduled = scheduled.is_ok();
    }

    /// Notes that the card said what is plugged in, and did what follows from it.
    pub(super) fn hotplug_succeeded(&mut self) {
        self.screen.recovery.hotplug_backoff.reset();
    }
}

impl Frame {
    /// Lets go of what the display read, which shows nothing any more.
    pub(super) fn release_buffers(&mut self) {
        self.direct = None;
        self.gpu_read = None;
    }
}
