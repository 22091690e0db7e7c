//! Handles page flips: a frame is on the display now, and the buffers of the previous frame are released.

use std::collections::HashMap;
use std::io;

use covalent_alloc::trace::{Action, FlowPosition};
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::wayland::presentation::Refresh;

use super::redraw_state::EstimatedVblank;
use super::{Frame, Screen};
use crate::backend::Flip;
use crate::clock;
use crate::kms::Event as CardEvent;
use crate::output_view::OutputId;
use crate::outputs::Outputs;
use crate::state::State;

impl State {
    /// Handles the pending events of a card.
    pub fn card_events(&mut self, device: u64) {
        match self.outputs.read_flips(device) {
            Ok(flips) => {
                for (id, flip) in flips {
                    self.flipped(id, flip);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the events of a card cannot be read");
                self.card_removed(device);
            }
        }
    }

    /// Handles a page flip: sends presentation feedback, and releases the buffers of the previous frame.
    pub fn flipped(&mut self, id: OutputId, flip: Flip) {
        let Some(screen) = self.outputs.get_mut(id) else {
            return;
        };
        screen.backend.flipped();
        let Some(flight) = screen.redraw_state.end_flight(&self.handle) else {
            return;
        };
        let period = screen.mode().period();
        screen
            .frame_clock
            .flipped(flip.time, flight.target, flip.synchronised, period);
        let Some(mut frame) = flight.frame else {
            return;
        };
        screen.present(&mut frame, flip);
        screen.presented.add(&frame.record);
        let number = frame.record.frame;
        let record = frame.record.clone();
        // With this flip the previous frame has left the display. Dropping the frame releases its buffers.
        screen.abandoned_frames.clear();
        drop(screen.on_display.replace(frame));
        if let Some(gles) = screen.renderer.borrow_mut().gles() {
            gles.cleanup_texture_cache();
        }
        let screenshot = screen
            .screenshot
            .take_if(|(_, frame_number)| number.is_some() && *frame_number == number);
        if let Some(report) = &mut self.outputs.report {
            report.add(record);
            report.flush();
        }
        if let Some((path, _)) = screenshot {
            self.save_screenshot(id, &path);
        }
        self.present_captures(id, flip.time);
    }

    /// Finishes the report and saves the screenshots that are still requested.
    pub fn finish(&mut self) {
        for id in self.outputs.ids() {
            let Some(screen) = self.outputs.get_mut(id) else {
                continue;
            };
            if let Some((path, _)) = screen.screenshot.take() {
                self.save_screenshot(id, &path);
            }
            if let Some(screen) = self.outputs.get_mut(id) {
                screen.redraw_state.end_flight(&self.handle);
            }
        }
        if let Some(report) = &mut self.outputs.report {
            if let Err(error) = report.finish() {
                self.fail(error.into());
            }
        }
    }
}

impl Outputs {
    /// Reads the page flips of all outputs of a card.
    fn read_flips(&mut self, device: u64) -> io::Result<Vec<(OutputId, Flip)>> {
        let mut outputs = HashMap::new();
        let mut events = None;
        for screen in self.iter_mut() {
            let id = screen.id;
            let Some(kms) = screen.backend.kms().filter(|kms| kms.device() == device) else {
                continue;
            };
            outputs.insert(kms.crtc(), (id, kms.counts_vblanks()));
            if events.is_none() {
                events = Some(kms.read_events()?);
            }
        }
        // A card without an output may still have an event for an output that was removed.
        if events.is_none() {
            let mut cards = self.cards.iter();
            if let Some(card) = cards.find(|card| card.device() == device) {
                card.read_events()?;
            }
        }
        let flips = events.into_iter().flatten().filter_map(|event| {
            let CardEvent::PageFlip {
                crtc,
                time,
                sequence,
            } = event;
            let (id, synchronised) = outputs.get(&crtc).copied()?;
            let flip = Flip {
                time: if time.is_zero() { clock::now() } else { time },
                sequence,
                synchronised,
                by_hardware: true,
            };
            Some((id, flip))
        });
        Ok(flips.collect())
    }
}

impl Screen {
    /// Sends the presentation feedback of a frame, and records its page flip.
    fn present(&self, frame: &mut Frame, flip: Flip) {
        let mut flags = Kind::empty();
        if flip.synchronised {
            flags |= Kind::Vsync;
        }
        if flip.by_hardware {
            flags |= Kind::HwClock | Kind::HwCompletion;
        }
        if !frame.is_drawn {
            flags |= Kind::ZeroCopy;
        }
        let refresh = Refresh::fixed(self.mode().period());
        for feedback in frame.feedback.take() {
            feedback.presented(
                &self.output,
                flip.time,
                refresh,
                u64::from(flip.sequence),
                flags,
            );
        }
        // The display has waited for the render fence, so the GPU no longer reads the buffers of this frame.
        frame.gpu_read = None;
        frame.record.flipped = Some(flip.time);
        frame.record.sequence = flip.sequence;
        for buffer in &frame.traced_buffers {
            buffer.emit(
                self.backend.name(),
                Action::Flip,
                FlowPosition::End,
                (flip.time, flip.time),
            );
        }
    }

    /// Sends the presentation feedback of commits that changed nothing. The presentation time is the predicted time of the
    /// refresh, so the flags `vsync`, `hw_clock` and `hw_completion` are not set.
    pub(super) fn present_unchanged(&self, mut flip: EstimatedVblank) {
        let refresh = Refresh::fixed(self.mode().period());
        for feedback in flip.feedback.take() {
            feedback.presented(&self.output, flip.target, refresh, 0, Kind::empty());
        }
    }
}
