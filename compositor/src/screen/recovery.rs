//! Recovery from rejected commits, missing page-flip events and unreadable buffers, by timers.
//!
//! ```text
//!   commit fails ──▶ wait (2 ms, doubled with each failure, at most 1 s) ──▶ submit the current scene
//!   no page-flip event within FLIP_TIMEOUT ──▶ abandon the frame ──▶ set the whole state and damage everything
//!   buffer cannot be read ──▶ show the frame without its surface ──▶ wait ──▶ draw the surface again
//! ```
//!
//! Commits of clients do not shorten the wait; their state is part of the next attempt. Frame callbacks and presentation
//! feedback stay with the frame that is retried.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};

use super::Frame;
use crate::backend::ModeError;
use crate::clock;
use crate::compose::UnreadableLayer;
use crate::run::exit;
use crate::scene::{SceneLayer, ShownScene};
use crate::state::State;
use crate::transient::{Backoff, FaultKind};

/// The longest time to wait for a page-flip event. It takes milliseconds on hardware, and some hundred milliseconds in an
/// emulated machine on a busy host.
const FLIP_TIMEOUT: Duration = Duration::from_secs(4);

/// The longest time for which a display may reject its first frame transiently before the compositor ends.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of attempts to scan a client's buffer out that may fail transiently before the frame is composed instead.
const SCANOUT_ATTEMPTS: u32 = 4;

/// The number of consecutive failures after which the next commit sets the whole state.
const RESET_AFTER: u32 = 3;

/// The number of attempts to draw a surface whose buffer cannot be read, within about two seconds.
const READ_ATTEMPTS: u32 = 10;

/// The number of attempts to set the mode for a fullscreen window before the current mode is kept.
const MODE_ATTEMPTS: u32 = 10;

/// The failures since the last accepted frame, and the timers of the retries.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    commit_backoff: Backoff,
    /// A timer for the next attempt is running.
    retry_scheduled: bool,
    failing_since: Option<Duration>,
    cause: Option<String>,
    /// A timer for the page-flip timeout is running.
    flip_watched: bool,
    read_backoff: Backoff,
    mode_backoff: Backoff,
    /// A timer for a redraw is running.
    redraw_scheduled: bool,
    hotplug_backoff: Backoff,
    /// A timer for another probe of the connector is running.
    hotplug_scheduled: bool,
}

/// The number of failed attempts of a frame, and the cause of the last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RetryInfo {
    pub(super) count: u32,
    pub(super) cause: Option<String>,
}

impl Recovery {
    /// Returns whether a timer for the next attempt is running.
    pub(super) fn is_waiting(&self) -> bool {
        self.retry_scheduled
    }

    /// Returns whether direct scanout of a buffer is to be retried after a transient failure.
    pub(super) fn should_retry_scanout(&self) -> bool {
        self.commit_backoff.attempts() < SCANOUT_ATTEMPTS
    }

    /// Resets the failures after the output accepted a frame; returns the retries of that frame.
    pub(super) fn frame_submitted(&mut self) -> RetryInfo {
        let retried = RetryInfo {
            count: self.commit_backoff.attempts(),
            cause: self.cause.take(),
        };
        if retried.count > 0 {
            tracing::info!(attempts = retried.count, "the output accepts frames again");
        }
        self.commit_backoff.reset();
        self.failing_since = None;
        retried
    }

    fn failed(&mut self, cause: String) -> Duration {
        if self.commit_backoff.attempts() == 0 {
            tracing::warn!("a frame was rejected and is retried: {cause}");
        } else {
            tracing::debug!(
                attempts = self.commit_backoff.attempts(),
                "the frame was rejected again: {cause}"
            );
        }
        self.cause = Some(cause);
        self.failing_since.get_or_insert_with(clock::now);
        self.commit_backoff.next_delay()
    }
}

impl State {
    /// Schedules another attempt after a commit failed. Ends the compositor if not even the first frame can be shown.
    pub(super) fn frame_failed(&mut self, error: anyhow::Error) {
        let kind = FaultKind::of(&*error);
        let screen = &mut self.screen;
        let delay = screen.recovery.failed(format!("{error:#}"));
        let failing_for = screen
            .recovery
            .failing_since
            .map_or(Duration::ZERO, |since| clock::now().saturating_sub(since));
        // A display that rejects the first frame cannot be used.
        if !screen.first_frame_submitted
            && (kind == FaultKind::Permanent || failing_for > FIRST_FRAME_TIMEOUT)
        {
            let error = error.context("the display rejected the first frame");
            self.fail_with(exit::NO_DISPLAY, error);
            return;
        }
        screen.backend.swapchain().damage_all();
        // Another DRM master may have changed the state of the display meanwhile.
        let attempts = screen.recovery.commit_backoff.attempts();
        let is_persistent = kind == FaultKind::Permanent && attempts >= RESET_AFTER;
        if kind == FaultKind::NotMaster || is_persistent {
            screen.backend.reset();
        }
        self.retry_after(delay);
    }

    /// Redraws after a delay. Nothing is submitted before.
    fn retry_after(&mut self, delay: Duration) {
        self.screen.redraw_needed = true;
        let timer = Timer::from_duration(delay);
        let scheduled = self.handle.insert_source(timer, |_, (), state: &mut Self| {
            // The attempt is made at the end of this event-loop iteration.
            state.screen.recovery.retry_scheduled = false;
            TimeoutAction::Drop
        });
        // If the timer cannot be created, the next event of any kind triggers the attempt.
        self.screen.recovery.retry_scheduled = scheduled.is_ok();
    }

    /// Starts the page-flip timeout for the frame in flight.
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
            // If the process was stopped for a while, the event may be pending and only not read yet.
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

    /// Abandons the frame in flight and submits a complete frame, since the state of the display is unknown.
    fn handle_lost_flip(&mut self) {
        let screen = &mut self.screen;
        screen.backend.abandon();
        screen.backend.reset();
        screen.backend.swapchain().damage_all();
        screen.shown_scene = ShownScene::default();
        let seconds = FLIP_TIMEOUT.as_secs();
        let output = screen.backend.name();
        let cause = format!("{output} sent no page-flip event for a frame within {seconds} s");
        let delay = screen.recovery.failed(cause);
        self.abandon_frame();
        self.retry_after(delay);
    }

    /// Abandons the frame in flight, which may still reach the display. Its buffers are released with the next page flip.
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

    /// Schedules a redraw of the surfaces that were left out because reading their buffers failed transiently.
    ///
    /// This must be called after the frame was submitted and the damage of its surfaces was cleared.
    pub(super) fn retry_missing_layers(&mut self, visible: &[SceneLayer], frame: &mut Frame) {
        let failed = std::mem::take(&mut frame.unreadable);
        if failed.is_empty() {
            self.screen.recovery.read_backoff.reset();
            return;
        }
        let mut needs_retry = false;
        for UnreadableLayer { layer, error } in failed {
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

    /// Schedules a redraw after a delay. Commits of clients are shown before, without waiting for it.
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

    /// Schedules another attempt to set the mode for a fullscreen window.
    pub(super) fn mode_failed(&mut self, error: &ModeError) {
        tracing::warn!("{error}");
        let mode_backoff = &mut self.screen.recovery.mode_backoff;
        let delay = mode_backoff.next_delay();
        if FaultKind::of(error).is_transient() && mode_backoff.attempts() < MODE_ATTEMPTS {
            self.redraw_after(delay);
        }
    }

    /// Resets the failures of mode changes.
    pub(super) fn mode_succeeded(&mut self) {
        self.screen.recovery.mode_backoff.reset();
    }

    /// Schedules another probe after a hotplug event was handled with a transient failure.
    pub(super) fn hotplug_failed(&mut self, error: &ModeError) {
        tracing::warn!("a hotplug event cannot be handled: {error}");
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

    /// Resets the failures of hotplug handling.
    pub(super) fn hotplug_succeeded(&mut self) {
        self.screen.recovery.hotplug_backoff.reset();
    }
}

impl Frame {
    /// Releases the client buffers of the frame, which is not on the display any more.
    pub(super) fn release_buffers(&mut self) {
        self.scanout_content = None;
        self.gpu_read = None;
    }
}
