//! Recovers from rejected commits, missing page-flip events and unreadable buffers by timers.
//!
//! ```text
//!   commit fails ──▶ wait (2 ms, doubled with each failure, at most 1 s) ──▶ submit the current scene
//!   no page-flip event within FLIP_TIMEOUT ──▶ abandon the frame ──▶ set the whole state and damage everything
//!   buffer cannot be read ──▶ show the frame without its surface ──▶ wait ──▶ draw the surface again
//! ```
//!
//! Commits of clients do not shorten the wait; the next attempt includes them. Frame callbacks and presentation feedback are sent
//! after the output has accepted a frame.

use std::time::Duration;

use calloop::timer::TimeoutAction;

use super::Frame;
use super::redraw_state::{Queued, RedrawState};
use crate::backend::ModeError;
use crate::clock;
use crate::compose::UnreadableLayer;
use crate::event_loop::TimerToken;
use crate::output_view::OutputId;
use crate::run::exit;
use crate::scene::{SceneLayer, ShownScene};
use crate::state::State;
use crate::transient::{Backoff, FaultKind};

/// The longest time to wait for a page-flip event. The event arrives after milliseconds on hardware, and after some hundred
/// milliseconds in an emulated machine on a busy host.
const FLIP_TIMEOUT: Duration = Duration::from_secs(4);

/// The longest time for which a display may transiently reject its first frame before the compositor ends.
const FIRST_FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of transiently failed attempts to scan out a client's buffer after which the frame is composited instead.
const SCANOUT_ATTEMPTS: u32 = 4;

/// The number of consecutive failures after which the next commit sets all properties.
const RESET_AFTER: u32 = 3;

/// The number of attempts to draw a surface whose buffer cannot be read. They take about two seconds.
const READ_ATTEMPTS: u32 = 10;

/// The number of transiently failed attempts to set the mode for a fullscreen window after which no timer retries it. The next
/// frames still do.
const MODE_ATTEMPTS: u32 = 10;

/// The failures since the last accepted frame, and the timers of the retries.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    commit_backoff: Backoff,
    failing_since: Option<Duration>,
    cause: Option<String>,
    read_backoff: Backoff,
    mode_backoff: Backoff,
    /// The size of the fullscreen buffer for which setting the mode failed permanently. The size is `None` if the requested mode
    /// could not be set again.
    rejected_size: Option<Option<(i32, i32)>>,
    /// Whether a timer for a redraw is running.
    redraw_scheduled: bool,
    hotplug_backoff: Backoff,
    /// Whether a timer for another probe of the connector is running.
    hotplug_scheduled: bool,
}

/// The number of failed attempts to submit a frame, and the cause of the last failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RetryInfo {
    pub(super) count: u32,
    pub(super) cause: Option<String>,
}

impl Recovery {
    /// Returns whether scanout of a buffer should be tried again after a transient failure.
    pub(super) fn should_retry_scanout(&self) -> bool {
        self.commit_backoff.attempts() < SCANOUT_ATTEMPTS
    }

    /// Resets the failures after the output has accepted a frame. Returns the number of retries of that frame.
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

    /// Counts a failed attempt. Returns the delay before the next one.
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
    /// Schedules another attempt after a commit failed. Ends the compositor if the only output rejects its first frame.
    pub(super) fn frame_failed(&mut self, id: OutputId, error: anyhow::Error) {
        let kind = FaultKind::of(&*error);
        let is_only = self.outputs.iter().count() == 1;
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let delay = screen.recovery.failed(format!("{error:#}"));
        let failing_for = screen
            .recovery
            .failing_since
            .map_or(Duration::ZERO, |since| clock::now().saturating_sub(since));
        // A display that rejects even its first frame cannot be used.
        if is_only
            && !screen.first_frame_submitted
            && (kind == FaultKind::Permanent || failing_for > FIRST_FRAME_TIMEOUT)
        {
            let error = error.context("the display rejected the first frame");
            self.fail_with(exit::NO_DISPLAY, error);
            return;
        }
        screen.backend.swapchain().damage_all();
        // Another DRM master may have changed the state of the display.
        let attempts = screen.recovery.commit_backoff.attempts();
        let is_persistent = kind == FaultKind::Permanent && attempts >= RESET_AFTER;
        if kind == FaultKind::NotMaster || is_persistent {
            screen.backend.reset();
        }
        self.retry_after(id, delay);
    }

    /// Schedules the next attempt to draw and submit a frame after `delay`. The output submits no frame before.
    fn retry_after(&mut self, id: OutputId, delay: Duration) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let timer = self.handle.add_timer(delay, move |state| {
            // The frame is drawn at the end of this event-loop iteration.
            if let Some(screen) = state.outputs.get_mut(id) {
                screen.redraw_state = RedrawState::Queued(Queued::Due(None));
            }
            TimeoutAction::Drop
        });
        let queued = RedrawState::Queued(Queued::Scheduled(timer));
        screen.redraw_state.replace(&self.handle, queued);
    }

    /// Starts the page-flip timeout for a frame.
    pub(super) fn watch_flip(&self, id: OutputId) -> TimerToken {
        self.handle
            .add_timer(FLIP_TIMEOUT, move |state| state.check_flip_timeout(id))
    }

    /// Handles the expired page-flip timeout: the frame is abandoned if its page flip was really lost.
    fn check_flip_timeout(&mut self, id: OutputId) -> TimeoutAction {
        let left = |state: &Self| {
            let since = state.outputs.get(id)?.redraw_state.flight()?.since;
            Some(FLIP_TIMEOUT.saturating_sub(clock::now().saturating_sub(since)))
        };
        if left(self).is_some_and(|left| left.is_zero()) {
            // If the process was stopped for a while, the event may have arrived but not been read yet.
            self.pending_flips(id);
        }
        match left(self) {
            None => {}
            Some(left) if !left.is_zero() => return TimeoutAction::ToDuration(left),
            Some(_) => self.handle_lost_flip(id),
        }
        TimeoutAction::Drop
    }

    /// Handles the pending events of the card of an output.
    pub(super) fn pending_flips(&mut self, id: OutputId) {
        let screen = self.outputs.get_mut(id);
        let device = screen.and_then(|screen| Some(screen.backend.kms()?.device()));
        if let Some(device) = device {
            self.card_events(device);
        }
    }

    /// Abandons the frame in flight and submits a complete frame, because the state of the display is not known.
    fn handle_lost_flip(&mut self, id: OutputId) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        screen.backend.abandon();
        screen.backend.reset();
        screen.backend.swapchain().damage_all();
        screen.shown_scene = ShownScene::default();
        let seconds = FLIP_TIMEOUT.as_secs();
        let output = screen.backend.name();
        let cause = format!("{output} sent no page-flip event for a frame within {seconds} s");
        let delay = screen.recovery.failed(cause);
        self.abandon_frame(id);
        self.retry_after(id, delay);
    }

    /// Abandons the frame in flight. It may still reach the display, so its buffers are released with the next page flip.
    pub(super) fn abandon_frame(&mut self, id: OutputId) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        if let Some(writeback) = screen.writeback() {
            writeback.abandon();
        }
        let flight = screen.redraw_state.end_flight(&self.handle);
        if let Some(mut frame) = flight.and_then(|flight| flight.frame) {
            frame.feedback.discard();
            screen.abandoned_frames.push(frame);
        }
    }

    /// Schedules a redraw of the surfaces that are missing in the frame because reading their buffers failed transiently.
    ///
    /// This must be called after the frame was submitted and the damage of its surfaces was cleared.
    pub(super) fn retry_missing_layers(
        &mut self,
        id: OutputId,
        visible: &[SceneLayer],
        frame: &mut Frame,
    ) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let failed = std::mem::take(&mut frame.unreadable);
        if failed.is_empty() {
            screen.recovery.read_backoff.reset();
            return;
        }
        let mut needs_retry = false;
        for UnreadableLayer { layer, error } in failed {
            let Some(layer) = visible.get(layer) else {
                continue;
            };
            let left_out = format!("{}: {error}", layer.owner.name());
            frame.record.left_out.push(left_out);
            if !FaultKind::of_io(&error).is_transient() {
                continue;
            }
            if layer.content.count_failed_read() < READ_ATTEMPTS {
                self.stack.surface(&layer.surface).damage_all(id);
                needs_retry = true;
            }
        }
        if needs_retry {
            let delay = screen.recovery.read_backoff.next_delay();
            self.redraw_after(id, delay);
        }
    }

    /// Schedules a redraw after `delay`. If a client commits during the delay, a frame is drawn for the next refresh.
    fn redraw_after(&mut self, id: OutputId, delay: Duration) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        if screen.recovery.redraw_scheduled {
            return;
        }
        screen.recovery.redraw_scheduled = true;
        self.handle.add_timer(delay, move |state| {
            if let Some(screen) = state.outputs.get_mut(id) {
                screen.recovery.redraw_scheduled = false;
                screen.schedule_redraw();
            }
            TimeoutAction::Drop
        });
    }

    /// Schedules another attempt to set the mode for a fullscreen buffer of this size. After a permanent failure, the current
    /// mode is kept for this size.
    pub(super) fn mode_failed(
        &mut self,
        id: OutputId,
        size: Option<(i32, i32)>,
        error: &ModeError,
    ) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        tracing::warn!(output = screen.backend.name(), "{error}");
        if FaultKind::of(error) == FaultKind::Permanent {
            screen.recovery.rejected_size = Some(size);
            return;
        }
        let mode_backoff = &mut screen.recovery.mode_backoff;
        let delay = mode_backoff.next_delay();
        if FaultKind::of(error).is_transient() && mode_backoff.attempts() < MODE_ATTEMPTS {
            self.redraw_after(id, delay);
        }
    }

    /// Schedules another probe of an output, because handling a hotplug event failed transiently.
    pub(super) fn hotplug_failed(&mut self, id: OutputId, error: &ModeError) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        tracing::warn!(
            output = screen.backend.name(),
            "a hotplug event cannot be handled: {error}"
        );
        let recovery = &mut screen.recovery;
        if FaultKind::of(error) == FaultKind::Permanent || recovery.hotplug_scheduled {
            return;
        }
        recovery.hotplug_scheduled = true;
        let delay = recovery.hotplug_backoff.next_delay();
        self.handle.add_timer(delay, move |state| {
            if let Some(screen) = state.outputs.get_mut(id) {
                screen.recovery.hotplug_scheduled = false;
                state.probe_output(id);
            }
            TimeoutAction::Drop
        });
    }
}

impl Recovery {
    /// Returns whether setting the mode for a fullscreen buffer of this size failed permanently.
    pub(super) fn is_size_rejected(&self, size: Option<(i32, i32)>) -> bool {
        self.rejected_size == Some(size)
    }

    /// Forgets the failed mode changes, after a success or because the display or its mode has changed.
    pub(super) fn reset_mode_failures(&mut self) {
        self.mode_backoff.reset();
        self.rejected_size = None;
    }

    /// Resets the number of failed hotplug events.
    pub(super) fn hotplug_succeeded(&mut self) {
        self.hotplug_backoff.reset();
    }
}

impl Frame {
    /// Releases the clients' buffers of the frame, which is no longer on the display.
    pub(super) fn release_buffers(&mut self) {
        self.scanned_out.clear();
        self.gpu_read = None;
    }
}
