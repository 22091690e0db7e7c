//! Draws captures with the frames of their output, and sends them when the frame is shown and the GPU has finished.

use std::io;
use std::time::Duration;

use calloop::timer::TimeoutAction;
use covalent_alloc::buffer::cpu_traffic;
use smithay::reexports::wayland_server::backend::ClientId;

use super::picture::{Drawn, Picture};
use super::{Capture, CaptureError, CapturedContent, Progress, SceneChanges, UnfinishedPixels};
use crate::clock;
use crate::connection::expect_events;
use crate::output_view::OutputId;
use crate::scene::Scene;
use crate::state::State;

/// The background of the pointer's image.
const TRANSPARENT: u32 = 0;

/// The time after which no further capture is drawn for a frame. At least one is drawn. The others are drawn for the next frames.
const BUDGET: Duration = Duration::from_millis(4);

/// The number of frames after which a capture is sent without the surfaces that cannot be read. The display lacks them as well.
const READ_ATTEMPTS: u32 = 8;

/// The time between two queries of whether the GPU has finished a capture.
const POLL_PERIOD: Duration = Duration::from_millis(1);

impl State {
    /// Draws the captures of a frame that was submitted. They are sent at its page flip.
    pub(crate) fn capture_changed(&mut self, id: OutputId, scene: &Scene, changes: SceneChanges) {
        // Without an earlier capture there is none since which the damage would have to be known.
        if !self.captures.seen.is_empty() && !changes.is_empty() {
            self.captures.histories.entry(id).or_default().push(changes);
        }
        self.draw_captures(id, scene, None);
    }

    /// Draws the captures of a frame that is not submitted, because the display already shows the scene.
    pub(crate) fn capture_unchanged(&mut self, id: OutputId, scene: &Scene) {
        self.draw_captures(id, scene, Some(clock::now()));
    }

    /// Draws the captures of an output that are due: one of each client, until the time for this frame is used up.
    fn draw_captures(&mut self, id: OutputId, scene: &Scene, shown: Option<Duration>) {
        self.update_pointer(id, scene);
        let mut pending = self.captures.pending.iter();
        if !pending.any(|capture| capture.source.output == id) {
            return;
        }
        let start = clock::now();
        let traffic = cpu_traffic();
        let own_bytes = self.outputs.written_bytes();
        let mut served: Vec<ClientId> = Vec::new();
        let mut is_left = false;
        let mut captures = std::mem::take(&mut self.captures.pending);
        captures.retain_mut(|capture| {
            if !self.captures.is_due(capture, id) {
                return true;
            }
            let client = capture.client.id();
            let is_late = clock::now().saturating_sub(start) > BUDGET;
            if served.contains(&client) || (is_late && !served.is_empty()) {
                is_left = true;
                return true;
            }
            served.push(client);
            match self.draw_capture(capture, scene, shown) {
                Ok(()) => {
                    is_left |= matches!(capture.progress, Progress::Waiting);
                    true
                }
                Err(error) => {
                    self.fail_capture(capture, &error);
                    false
                }
            }
        });
        self.captures.pending = captures;
        let own_bytes = self.outputs.written_bytes().saturating_sub(own_bytes);
        self.outputs.copy_counter.exclude(traffic);
        self.outputs.copy_counter.exclude_own(own_bytes);
        if is_left {
            self.postpone_captures(id);
        }
        if shown.is_some() {
            self.finish_captures();
        }
    }

    /// Draws a capture. It stays waiting if its buffer is in use or a surface cannot be read yet.
    fn draw_capture(
        &mut self,
        capture: &mut Capture,
        scene: &Scene,
        shown: Option<Duration>,
    ) -> Result<(), CaptureError> {
        capture.check_buffer()?;
        capture.attempts = capture.attempts.saturating_add(1);
        let is_ready = capture.buffer.is_ready();
        if !is_ready.map_err(CaptureError::of_buffer)? {
            return capture.check_attempts();
        }
        let source = capture.source;
        let screen = self.outputs.get(source.output);
        let screen = screen.ok_or_else(CaptureError::of_output)?;
        let pointer_scene;
        let picture = if source.content == CapturedContent::Pointer {
            let shown = self.captures.pointer_on(source.output);
            let shown = shown.filter(|shown| shown.size() == source.size());
            let area = shown.map(|shown| shown.area).ok_or_else(|| {
                CaptureError::of_buffer("the size of the pointer's image has changed")
            })?;
            pointer_scene = Scene {
                background: TRANSPARENT,
                layers: Vec::new(),
                cursor: scene.cursor.clone(),
            };
            Picture {
                scene: &pointer_scene,
                area,
                with_cursor: true,
                background: TRANSPARENT,
            }
        } else {
            Picture {
                scene,
                area: source.area,
                with_cursor: source.content == CapturedContent::SurfacesAndPointer,
                background: screen.background_of(scene),
            }
        };
        let drawn = picture.draw(&mut screen.renderer().borrow_mut(), &capture.buffer)?;
        let pixels = match drawn {
            Drawn::Pixels(_, true) if capture.attempts < READ_ATTEMPTS => return Ok(()),
            Drawn::Pixels(mut pixels, _) => match capture.buffer.write(&mut pixels) {
                Ok(()) => UnfinishedPixels::InBuffer,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return capture.check_attempts();
                }
                Err(error) => return Err(CaptureError::of_buffer(error)),
            },
            Drawn::Read(pending, guard) => UnfinishedPixels::GpuReads(pending, guard),
            Drawn::InBuffer(guard) => UnfinishedPixels::GpuDraws(guard),
        };
        let damage = self.captures.damage(capture);
        let frame = self.captures.latest(&source);
        // A frame can outlive the object to which its sequence belongs, and its entry would then never be removed.
        let objects = self.display.backend_handle();
        if objects.object_info(capture.sequence.owner.clone()).is_ok() {
            self.captures.seen.insert(capture.sequence.clone(), frame);
        }
        capture.progress = Progress::Drawn {
            pixels,
            damage,
            shown,
        };
        Ok(())
    }

    /// Sends the captures of a frame that is on the display since the time `shown`.
    pub(crate) fn present_captures(&mut self, id: OutputId, shown: Duration) {
        let mut is_any = false;
        for capture in &mut self.captures.pending {
            if let Progress::Drawn { shown: time, .. } = &mut capture.progress {
                if capture.source.output == id {
                    time.get_or_insert(shown);
                    is_any = true;
                }
            }
        }
        if is_any {
            self.finish_captures();
        }
    }

    /// Sends the captures that are shown and that the GPU has finished. A timer queries the others again.
    fn finish_captures(&mut self) {
        let traffic = cpu_traffic();
        let mut is_unfinished = false;
        let mut captures = std::mem::take(&mut self.captures.pending);
        captures.retain_mut(|capture| match self.finish_capture(capture) {
            Ok(is_finished) => {
                let is_shown = matches!(capture.progress, Progress::Drawn { shown: Some(_), .. });
                is_unfinished |= is_shown && !is_finished;
                !is_finished
            }
            Err(error) => {
                self.fail_capture(capture, &error);
                false
            }
        });
        self.captures.pending = captures;
        self.outputs.copy_counter.exclude(traffic);
        if is_unfinished && !std::mem::replace(&mut self.captures.polls, true) {
            self.handle.add_timer(POLL_PERIOD, |state| {
                state.captures.polls = false;
                state.finish_captures();
                TimeoutAction::Drop
            });
        }
    }

    /// Sends a capture if it is shown and the GPU has finished it. Returns whether it was sent.
    fn finish_capture(&mut self, capture: &mut Capture) -> Result<bool, CaptureError> {
        capture.check_buffer()?;
        let Progress::Drawn {
            pixels,
            damage,
            shown: Some(shown),
        } = &mut capture.progress
        else {
            return Ok(false);
        };
        match pixels {
            UnfinishedPixels::InBuffer => {}
            UnfinishedPixels::GpuDraws(guard) | UnfinishedPixels::GpuReads(_, guard)
                if !guard.is_done() =>
            {
                return Ok(false);
            }
            UnfinishedPixels::GpuDraws(_) => {}
            UnfinishedPixels::GpuReads(pending, _) => {
                let screen = self.outputs.get(capture.source.output);
                let mut renderer = screen.map(|screen| screen.renderer().borrow_mut());
                let gles = renderer.as_mut().and_then(|renderer| renderer.gles());
                let gles = gles.ok_or_else(CaptureError::of_output)?;
                let mut pixels = gles.finish_read(pending)?;
                match capture.buffer.write(&mut pixels) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        capture.attempts = capture.attempts.saturating_add(1);
                        return capture.check_attempts().map(|()| false);
                    }
                    written => written.map_err(CaptureError::of_buffer)?,
                }
            }
        }
        expect_events(&capture.client);
        capture.frame.ready(&capture.source, damage, *shown);
        Ok(true)
    }

    /// Sends `failed` to a capture that the caller removes. The next capture of its sequence does not wait for damage.
    pub(super) fn fail_capture(&mut self, capture: &Capture, error: &CaptureError) {
        tracing::debug!(%error, "a capture failed");
        self.captures.seen.remove(&capture.sequence);
        expect_events(&capture.client);
        capture.frame.failed(error.reason);
    }

    /// Schedules a frame in the next refresh period, for the captures that were left out of this one.
    fn postpone_captures(&mut self, id: OutputId) {
        let Some(screen) = self.outputs.get(id) else {
            return;
        };
        let period = screen.mode().period();
        if !self.captures.postponed.insert(id) {
            return;
        }
        self.handle.add_timer(period, move |state| {
            state.captures.postponed.remove(&id);
            if let Some(screen) = state.outputs.get_mut(id) {
                screen.schedule_redraw();
            }
            TimeoutAction::Drop
        });
    }
}
