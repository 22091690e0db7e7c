//! Draws a frame at its deadline. It computes the scene, the damage, and the surfaces that receive frame callbacks.

use std::time::Duration;

use calloop::timer::TimeoutAction;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;

use super::Frame;
use super::feedback::Feedback;
use super::frame_clock::Slot;
use super::redraw_state::{EstimatedVblank, Flight, Queued, RedrawState};
use crate::capture::SceneChanges;
use crate::clock;
use crate::output_view::OutputId;
use crate::region::Rect;
use crate::scene::{Scene, SceneLayer};
use crate::state::State;

impl State {
    /// Draws a frame of each output whose deadline has passed, and starts the timers for the deadlines of the other outputs.
    pub fn redraw(&mut self) {
        self.signal_deferred_releases();
        for id in self.outputs.ids() {
            self.redraw_output(id);
        }
    }

    /// Draws a frame of an output if its deadline has passed, or starts a timer for the deadline.
    fn redraw_output(&mut self, id: OutputId) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let period = screen.mode().period();
        let RedrawState::Queued(queued) = &mut screen.redraw_state else {
            return;
        };
        if !screen.backend.is_idle() {
            // The wait for the output to become idle does not count as drawing time.
            if let Queued::Due(slot) = queued {
                *slot = None;
            }
            return;
        }
        let now = clock::now();
        let slot = match queued {
            Queued::Scheduled(_) => return,
            // If the frame could not be drawn for its refresh in time, it is drawn for a later one.
            Queued::Due(Some(slot)) if now < slot.target.saturating_add(period) => *slot,
            Queued::Due(_) => Slot {
                deadline: now,
                ..screen.frame_clock.next_slot(now, period)
            },
            Queued::New => {
                let slot = screen.frame_clock.next_slot(now, period);
                if slot.deadline > now {
                    self.schedule_draw(id, slot, now);
                    return;
                }
                Slot {
                    deadline: now,
                    ..slot
                }
            }
        };
        self.draw(id, slot);
    }

    /// Starts a timer for the deadline of a frame.
    fn schedule_draw(&mut self, id: OutputId, slot: Slot, now: Duration) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let wait = slot.deadline.saturating_sub(now);
        let timer = self.handle.add_timer(wait, move |state| {
            // The frame is drawn at the end of this event-loop iteration, so that it includes the commits of this iteration.
            if let Some(screen) = state.outputs.get_mut(id) {
                screen.redraw_state = RedrawState::Queued(Queued::Due(Some(slot)));
            }
            TimeoutAction::Drop
        });
        screen.redraw_state = RedrawState::Queued(Queued::Scheduled(timer));
    }

    /// Draws and submits a frame for the refresh in `slot`, if anything has changed.
    fn draw(&mut self, id: OutputId, slot: Slot) {
        // The page-flip event of an abandoned frame must not count for this frame, so pending events are read first. The kernel
        // accepts no commit before it has sent that event.
        if self
            .outputs
            .get(id)
            .is_some_and(|screen| !screen.abandoned_frames.is_empty())
        {
            self.pending_flips(id);
        }
        self.match_mode(id);
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        screen.redraw_state = RedrawState::Idle;
        screen.drawn_at = clock::now();
        let output = screen.mode().rect();
        let view = screen.view();
        let mut scene = self.stack.scene(&view);
        scene.cursor = self
            .cursor
            .layer_on(&self.stack, &view, self.pointer.current_location());
        let changes = SceneChanges::new(&scene, &screen.shown_scene, output);
        let visible: Vec<SceneLayer> = scene.visible(output).into_iter().cloned().collect();
        self.update_visibility(id, output, &scene, &visible);
        self.check_keyboard_focus();
        self.check_frame_pixels(&visible, output);
        let has_new_content = visible.iter().any(|layer| layer.has_new_content);
        if changes.is_empty() && !has_new_content {
            if let Some(screen) = self.outputs.get_mut(id) {
                screen.frame_clock.use_slot(slot.target);
            }
            self.estimate_flip(id, slot.target, &visible);
            self.send_callbacks(id, &visible);
            self.capture_unchanged(id, &scene);
            return;
        }
        match self.submit(id, &scene, &visible) {
            Ok(frame) => {
                self.frame_submitted(id, slot, frame, &scene, &visible);
                self.send_callbacks(id, &visible);
                self.capture_changed(id, &scene, changes);
            }
            Err(error) => self.frame_failed(id, error),
        }
    }

    /// Records which surfaces the output shows, and sends `wl_surface.enter` and `wl_surface.leave`.
    fn update_visibility(
        &mut self,
        id: OutputId,
        output: Rect,
        scene: &Scene,
        visible: &[SceneLayer],
    ) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let mut left = std::mem::take(&mut screen.entered);
        let layers = scene.layers.iter().map(|layer| {
            let is_visible = visible.iter().any(|other| other.surface == layer.surface);
            (&layer.surface, layer.view.destination, is_visible)
        });
        let cursor = scene.cursor.as_ref();
        let cursor = cursor
            .and_then(|cursor| Some((cursor.surface.as_ref()?, cursor.view.destination, true)));
        for (surface, destination, is_visible) in layers.chain(cursor) {
            let Some(part) = destination.intersection(output) else {
                continue;
            };
            let area = if is_visible { part.area() } else { 0 };
            self.stack.surface(surface).set_visible_area(id, area);
            left.remove(&surface.id());
            screen.output.enter(surface);
            screen.entered.insert(surface.id(), surface.clone());
        }
        for surface in left.into_values() {
            screen.output.leave(&surface);
            if self.stack.find(&surface).is_some() {
                self.stack.surface(&surface).set_visible_area(id, 0);
            }
        }
    }

    /// Records a frame that the output has accepted.
    fn frame_submitted(
        &mut self,
        id: OutputId,
        slot: Slot,
        mut frame: Frame,
        scene: &Scene,
        visible: &[SceneLayer],
    ) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        screen.first_frame_submitted = true;
        let retried = screen.recovery.frame_submitted();
        frame.record.retries = retried.count;
        frame.record.retry_cause = retried.cause;
        screen.shown_scene = scene.shown();
        for layer in visible {
            self.stack.surface(&layer.surface).mark_latched(id);
        }
        screen.frame_clock.use_slot(slot.target);
        let drawing_time = clock::now().saturating_sub(slot.deadline);
        screen.frame_clock.add_drawing_time(drawing_time);
        self.retry_missing_layers(id, visible, &mut frame);
        let number = frame.record.frame;
        self.wait_for_flip(id, Some(frame), slot.target);
        self.watch_writeback(id, number);
    }

    /// Changes to the state in which the output waits for the page flip of a submitted frame.
    pub(super) fn wait_for_flip(&mut self, id: OutputId, frame: Option<Frame>, target: Duration) {
        let timeout = self.watch_flip(id);
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let flight = Flight {
            frame,
            target,
            since: clock::now(),
            timeout,
            redraw_needed: screen.redraw_state.needs_redraw(),
        };
        let next = RedrawState::WaitingForFlip(Box::new(flight));
        if let RedrawState::EstimatedVblank(flip) = screen.redraw_state.replace(&self.handle, next)
        {
            screen.present_unchanged(flip);
        }
    }

    /// Schedules the presentation feedback of commits that changed nothing, for the time at which their frame would have been
    /// shown.
    fn estimate_flip(&mut self, id: OutputId, target: Duration, visible: &[SceneLayer]) {
        let mut feedback = Feedback::default();
        let main = visible
            .iter()
            .filter(|layer| self.is_main(id, &layer.surface));
        for layer in main {
            feedback.add(&layer.surface);
        }
        // The frame clock has already marked the refresh as used, so a timer is needed only for feedback.
        if feedback.is_empty() {
            return;
        }
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        let wait = target.saturating_sub(clock::now());
        let timer = self.handle.add_timer(wait, move |state| {
            if let Some(screen) = state.outputs.get_mut(id) {
                if let Some(flip) = screen.redraw_state.end_estimated_vblank() {
                    screen.present_unchanged(flip);
                }
            }
            TimeoutAction::Drop
        });
        screen.redraw_state = RedrawState::EstimatedVblank(EstimatedVblank {
            feedback,
            target,
            timer,
            // The change of the focus since the deadline may have dismissed a popup, which needs a redraw.
            redraw_needed: screen.redraw_state.needs_redraw(),
        });
    }

    /// Returns whether an output is the main output of a surface.
    pub(super) fn is_main(&self, id: OutputId, surface: &WlSurface) -> bool {
        self.stack.main_output(surface) == Some(id)
    }
}
