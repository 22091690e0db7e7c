//! The frame loop of the output: redraw, submission, page flip and release.
//!
//! ```text
//!   commit ──▶ redraw needed ──▶ composed or scanned out, submitted ──▶ in flight ──▶ on the display ──▶ replaced
//!                  ▲  the output is idle                                    │ flip      frame callbacks,    buffers are
//!                  └────────────────────────────────────────────────────────┘           feedback            released
//! ```
//!
//! At most one frame is in flight. Commits that arrive meanwhile are shown with the next frame.

mod callbacks;
mod capture;
mod feedback;
mod output_state;
mod recovery;
mod submit;
mod writeback;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::trace::{Action, FlowPosition};
use feedback::Feedback;
use recovery::Recovery;
use smithay::output::{Mode as OutputMode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::reexports::wayland_server::protocol::wl_callback::WlCallback;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::wayland::presentation::Refresh;

use crate::backend::{Backend, Flip, Mode};
use crate::clock;
use crate::compose::{GpuReadGuard, UnreadableLayer};
use crate::content::Content;
use crate::copy_counter::CopyCounter;
use crate::frame_trace::TracedBuffer;
use crate::kms::Event as CardEvent;
use crate::render::Renderer;
use crate::report::{FrameRecord, Report};
use crate::scene::{SceneLayer, ShownScene};
use crate::state::State;
use crate::writeback::Writeback;

/// The output with its backend, its renderer and its frames.
#[derive(Debug)]
pub struct Screen {
    output: Output,
    backend: Backend,
    renderer: Renderer,
    shown_scene: ShownScene,
    redraw_needed: bool,
    frames: u64,
    in_flight: Option<Frame>,
    on_display: Option<Frame>,
    /// Frames whose page flip was not reported. Any of them may be on the display until the next page flip.
    abandoned_frames: Vec<Frame>,
    /// Whether the output has accepted a frame.
    first_frame_submitted: bool,
    recovery: Recovery,
    callbacks: Vec<WlCallback>,
    callbacks_sent_at: Duration,
    callbacks_scheduled: bool,
    report: Option<Report>,
    copy_counter: CopyCounter,
    screenshot: Option<(PathBuf, Option<u64>)>,
}

/// A frame that was submitted.
#[derive(Debug)]
struct Frame {
    record: FrameRecord,
    feedback: Feedback,
    /// The layers that could not be read and are left out.
    unreadable: Vec<UnreadableLayer>,
    /// The client's buffer that is scanned out. It must be locked while the frame is on the display.
    scanout_content: Option<Rc<Content>>,
    output_buffer: Option<usize>,
    /// The buffers of surfaces with new content.
    traced_buffers: Vec<TracedBuffer>,
    /// The client buffers that the GPU reads to draw the frame.
    gpu_read: Option<GpuReadGuard>,
}

impl Screen {
    /// Creates the `wl_output` global of `backend`, whose frames `renderer` composes.
    pub fn new(display: &DisplayHandle, backend: Backend, renderer: Renderer) -> Self {
        let output = Output::new(
            backend.name().to_owned(),
            PhysicalProperties {
                size: (0, 0).into(),
                subpixel: Subpixel::Unknown,
                make: "Covalent".to_owned(),
                model: backend.name().to_owned(),
            },
        );
        output.create_global::<State>(display);
        let screen = Self {
            output,
            backend,
            renderer,
            shown_scene: ShownScene::default(),
            // A first frame is submitted even without windows, so that the previous content of the display disappears.
            redraw_needed: true,
            frames: 0,
            in_flight: None,
            on_display: None,
            abandoned_frames: Vec::new(),
            first_frame_submitted: false,
            recovery: Recovery::default(),
            callbacks: Vec::new(),
            callbacks_sent_at: Duration::ZERO,
            callbacks_scheduled: false,
            report: None,
            copy_counter: CopyCounter::default(),
            screenshot: None,
        };
        screen.announce_mode();
        screen
    }

    /// Sets the report, which gets a record of every presented frame.
    pub fn set_report(&mut self, report: Report) {
        self.report = Some(report);
    }

    /// Requests a screenshot of frame number `after`, or of the last frame.
    pub fn set_screenshot(&mut self, path: PathBuf, frame_number: Option<u64>) {
        self.screenshot = Some((path, frame_number));
    }

    /// Returns the current mode.
    pub fn mode(&self) -> Mode {
        self.backend.mode()
    }

    /// Returns Smithay's output, which clients see as `wl_output`.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Returns the backend.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Returns the renderer.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Returns the backend.
    pub fn backend_mut(&mut self) -> &mut Backend {
        &mut self.backend
    }

    /// Schedules a frame for when the output is idle.
    pub fn schedule_redraw(&mut self) {
        self.redraw_needed = true;
    }

    /// Returns whether the frame on the display shows the current scene and no other frame is in flight.
    pub fn is_up_to_date(&self) -> bool {
        !self.redraw_needed && self.in_flight.is_none() && self.on_display.is_some()
    }

    /// Releases the buffers that the display read, after it was turned off.
    fn release_scanout_buffers(&mut self) {
        self.abandoned_frames.clear();
        if let Some(frame) = &mut self.on_display {
            frame.release_buffers();
        }
    }

    fn writeback(&mut self) -> Option<&mut Writeback> {
        self.backend.kms()?.writeback()
    }

    fn announce_mode(&self) {
        let mode = self.backend.mode();
        let mode = OutputMode {
            size: (mode.width, mode.height).into(),
            refresh: i32::try_from(mode.refresh_millihertz).unwrap_or(0),
        };
        self.output
            .change_current_state(Some(mode), None, None, Some((0, 0).into()));
        self.output.set_preferred(mode);
    }
}

impl State {
    /// Composes and submits a frame, if a redraw is needed and the output is idle.
    pub fn redraw(&mut self) {
        self.signal_deferred_releases();
        let screen = &self.screen;
        if !screen.redraw_needed || screen.recovery.is_waiting() || !screen.backend.is_idle() {
            return;
        }
        self.screen.redraw_needed = false;
        self.match_mode();
        let output = self.screen.mode().rect();
        let scene = self.stack.scene(output);
        let damage = scene.damage(&self.screen.shown_scene, output);
        let visible: Vec<SceneLayer> = scene.visible(output).into_iter().cloned().collect();
        let has_new_content = visible.iter().any(|layer| layer.has_new_content);
        self.collect_callbacks(&visible);
        if damage.is_empty() && !has_new_content {
            self.schedule_callbacks();
            return;
        }
        match self.submit(&scene, &damage, &visible) {
            Ok(mut frame) => {
                self.screen.first_frame_submitted = true;
                let retried = self.screen.recovery.frame_submitted();
                frame.record.retries = retried.count;
                frame.record.retry_cause = retried.cause;
                self.screen.shown_scene = scene.shown();
                for layer in &visible {
                    self.stack.surface(&layer.surface).mark_latched();
                    let output = &self.screen.output;
                    output.enter(&layer.surface);
                }
                self.retry_missing_layers(&visible, &mut frame);
                let number = frame.record.frame;
                self.screen.in_flight = Some(frame);
                self.watch_flip();
                self.watch_writeback(number);
            }
            Err(error) => self.frame_failed(error),
        }
    }

    /// Handles the pending events of the card.
    pub fn card_events(&mut self) {
        let Some(kms) = self.screen.backend.kms() else {
            return;
        };
        let synchronised = kms.counts_vblanks();
        match kms.events() {
            Ok(events) => {
                for event in events {
                    let CardEvent::PageFlip { time, sequence } = event;
                    self.flipped(Flip {
                        time: if time.is_zero() { clock::now() } else { time },
                        sequence,
                        synchronised,
                        by_hardware: true,
                    });
                }
            }
            Err(error) => self
                .fail(anyhow::Error::new(error).context("the events of the card cannot be read")),
        }
    }

    /// Handles a page flip: sends presentation feedback, releases the buffers of the previous frame, and schedules callbacks.
    pub fn flipped(&mut self, flip: Flip) {
        self.screen.backend.flipped();
        let Some(mut frame) = self.screen.in_flight.take() else {
            return;
        };
        let mut flags = Kind::empty();
        if flip.synchronised {
            flags |= Kind::Vsync;
        }
        if flip.by_hardware {
            flags |= Kind::HwClock | Kind::HwCompletion;
        }
        if frame.scanout_content.is_some() {
            flags |= Kind::ZeroCopy;
        }
        let refresh = Refresh::fixed(self.screen.mode().period());
        for feedback in frame.feedback.take() {
            feedback.presented(
                &self.screen.output,
                flip.time,
                refresh,
                u64::from(flip.sequence),
                flags,
            );
        }
        // The display waited for the render fence, so the GPU has finished reading the buffers of this frame.
        frame.gpu_read = None;
        frame.record.flipped = Some(flip.time);
        frame.record.sequence = flip.sequence;
        for buffer in &frame.traced_buffers {
            let display = self.screen.backend.name();
            buffer.emit(
                display,
                Action::Flip,
                FlowPosition::End,
                (flip.time, flip.time),
            );
        }
        let number = frame.record.frame;
        if let Some(report) = &mut self.screen.report {
            report.add(frame.record.clone());
        }
        // The previous frame left the display with this flip. Dropping it releases its buffer.
        self.screen.abandoned_frames.clear();
        drop(self.screen.on_display.replace(frame));
        if let Some(gles) = self.screen.renderer.gles() {
            gles.cleanup_texture_cache();
        }
        if let Some(report) = &mut self.screen.report {
            report.flush();
        }
        if let Some((path, frame_number)) = &self.screen.screenshot {
            if number.is_some() && *frame_number == number {
                let path = path.clone();
                self.screen.screenshot = None;
                self.save_screenshot(&path);
            }
        }
        self.schedule_callbacks();
    }

    /// Finishes the report and saves the screenshot if it is still requested.
    pub fn finish(&mut self) {
        if let Some((path, _)) = self.screen.screenshot.take() {
            self.save_screenshot(&path);
        }
        self.screen.in_flight = None;
        if let Some(report) = &mut self.screen.report {
            if let Err(error) = report.finish() {
                self.fail(error.into());
            }
        }
    }
}
