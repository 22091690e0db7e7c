//! Frames: when one is drawn, which way its pixels take, and what happens when it is on the display.
//!
//! ```text
//!   commit ──▶ wanted ──▶ drawn and submitted ──▶ in flight ──▶ on the display ──▶ replaced
//!                ▲  the output is idle              │ flip         callbacks, feedback   buffers go back,
//!                └──────────────────────────────────┘                                    report is written
//! ```
//!
//! One frame is in flight at most; commits that come meanwhile are gathered for the next one.

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

use covalent_alloc::trace::{Action, Place};
use feedback::Feedback;
use recovery::Recovery;
use smithay::output::{Mode as OutputMode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::reexports::wayland_server::protocol::wl_callback::WlCallback;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::wayland::presentation::Refresh;

use crate::backend::{Backend, Flip, Mode};
use crate::clock;
use crate::compose::{GpuReadGuard, MissingLayer};
use crate::content::Content;
use crate::copy_counter::CopyCounter;
use crate::frame_trace::TracedBuffer;
use crate::kms::Event as CardEvent;
use crate::render::Renderer;
use crate::report::{FrameRecord, Report};
use crate::scene::{SceneLayer, Shown};
use crate::state::State;
use crate::writeback::Writeback;

/// The output and the frames on their way to it.
#[derive(Debug)]
pub struct Screen {
    output: Output,
    backend: Backend,
    renderer: Renderer,
    shown: Shown,
    redraw_needed: bool,
    frames: u64,
    in_flight: Option<Frame>,
    on_display: Option<Frame>,
    /// Frames that were given up: one of them may be on the display, until another frame is known to be.
    abandoned_frames: Vec<Frame>,
    /// The output took a frame once.
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
    /// Layers that could not be read, and are missing in it.
    failed: Vec<MissingLayer>,
    /// The buffer that the display reads: it must outlive the frame.
    direct: Option<Rc<Content>>,
    output_buffer: Option<usize>,
    /// What is new in it.
    traced_buffers: Vec<TracedBuffer>,
    /// What the GPU reads to draw it.
    gpu_read: Option<GpuReadGuard>,
}

impl Screen {
    /// Announces the output of `backend` to clients; `renderer` composes what it shows.
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
            shown: Shown::default(),
            // A display that shows nothing is taken all the same, so that what was on it before goes away.
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

    /// Writes a record of every presented frame.
    pub fn set_report(&mut self, report: Report) {
        self.report = Some(report);
    }

    /// Saves what is shown by frame number `after`, or at the end.
    pub fn set_screenshot(&mut self, path: PathBuf, after: Option<u64>) {
        self.screenshot = Some((path, after));
    }

    /// Returns the mode that is set.
    pub fn mode(&self) -> Mode {
        self.backend.mode()
    }

    /// Returns the output as clients know it.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Returns where frames go.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Returns what composes.
    pub fn renderer(&self) -> &Renderer {
        &self.renderer
    }

    /// Returns where frames go, to drive it.
    pub fn backend_mut(&mut self) -> &mut Backend {
        &mut self.backend
    }

    /// Asks for a frame as soon as the output can take one.
    pub fn schedule_redraw(&mut self) {
        self.redraw_needed = true;
    }

    /// Tells whether what is on the display is all there is to show.
    pub fn is_up_to_date(&self) -> bool {
        !self.redraw_needed && self.in_flight.is_none() && self.on_display.is_some()
    }

    /// Lets go of what a display read that is off: nobody reads it any more.
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
    /// Draws and submits a frame if one is wanted and the output can take it.
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
        let damage = scene.damage(&self.screen.shown, output);
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
                self.screen.shown = scene.shown();
                for layer in &visible {
                    self.stack.surface(&layer.surface).latched();
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

    /// Handles what the card told.
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
            Err(error) => self.fail(anyhow::Error::new(error).context("the card is gone")),
        }
    }

    /// Does what is due when the frame in flight is on the display.
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
        if frame.direct.is_some() {
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
        // The display waited for the GPU, which therefore reads nothing of this frame any more.
        frame.gpu_read = None;
        frame.record.flipped = Some(flip.time);
        frame.record.sequence = flip.sequence;
        for buffer in &frame.traced_buffers {
            let display = self.screen.backend.name();
            buffer.emit(display, Action::Flip, Place::End, (flip.time, flip.time));
        }
        let number = frame.record.frame;
        if let Some(report) = &mut self.screen.report {
            report.add(frame.record.clone());
        }
        // The frame before is off the display only now: this is where its buffer goes back.
        self.screen.abandoned_frames.clear();
        drop(self.screen.on_display.replace(frame));
        if let Some(gles) = self.screen.renderer.gles() {
            gles.rest();
        }
        if let Some(report) = &mut self.screen.report {
            report.flush();
        }
        if let Some((path, after)) = &self.screen.screenshot {
            if number.is_some() && *after == number {
                let path = path.clone();
                self.screen.screenshot = None;
                self.save_screenshot(&path);
            }
        }
        self.schedule_callbacks();
    }

    /// Finishes the report and saves the screenshot that is still owed.
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
