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
mod display;
mod picture;
mod writeback;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::trace::{Action, Place};
use smithay::output::{Mode as OutputMode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::reexports::wayland_server::protocol::wl_callback::WlCallback;
use smithay::reexports::wayland_server::{DisplayHandle, Resource};
use smithay::wayland::compositor::with_states;
use smithay::wayland::presentation::{
    PresentationFeedbackCachedState, PresentationFeedbackCallback, Refresh,
};

use crate::backend::{Backend, Flip, Mode};
use crate::clock;
use crate::compose::{self, Composed, Reading};
use crate::content::Content;
use crate::direct;
use crate::kms::Event as CardEvent;
use crate::meter::Meter;
use crate::render::{Pixels, Renderer};
use crate::report::{FramePath, FrameRecord, Report, Shown as ShownBuffer, ShownPlane};
use crate::run::exit;
use crate::scene::{Scene, SceneLayer, Shown};
use crate::state::{ClientState, State};
use crate::steps::{COMPOSITOR, Traced};
use crate::writeback::Writeback;

/// The output and the frames on their way to it.
#[derive(Debug)]
pub struct Screen {
    output: Output,
    backend: Backend,
    renderer: Renderer,
    shown: Shown,
    wanted: bool,
    frames: u64,
    in_flight: Option<Frame>,
    on_display: Option<Frame>,
    callbacks: Vec<WlCallback>,
    callbacks_at: Duration,
    callbacks_planned: bool,
    report: Option<Report>,
    meter: Meter,
    screenshot: Option<(PathBuf, Option<u64>)>,
}

/// A frame that was submitted.
#[derive(Debug)]
struct Frame {
    record: FrameRecord,
    feedback: Vec<PresentationFeedbackCallback>,
    /// The buffer that the display reads: it must outlive the frame.
    direct: Option<Rc<Content>>,
    picture: Option<usize>,
    /// What is new in it.
    traced: Vec<Traced>,
    /// What the GPU reads to draw it.
    reading: Option<Reading>,
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
            wanted: true,
            frames: 0,
            in_flight: None,
            on_display: None,
            callbacks: Vec::new(),
            callbacks_at: Duration::ZERO,
            callbacks_planned: false,
            report: None,
            meter: Meter::default(),
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
    pub fn want_redraw(&mut self) {
        self.wanted = true;
    }

    /// Tells whether what is on the display is all there is to show.
    pub fn is_quiet(&self) -> bool {
        !self.wanted && self.in_flight.is_none() && self.on_display.is_some()
    }

    /// Tells whether the display ever took a frame.
    fn frames_shown(&self) -> bool {
        self.in_flight.is_some() || self.on_display.is_some()
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
        if !self.screen.wanted || !self.screen.backend.is_idle() {
            return;
        }
        self.screen.wanted = false;
        self.match_mode();
        let output = self.screen.mode().rect();
        let scene = self.stack.scene(output);
        let damage = scene.damage(&self.screen.shown, output);
        let visible: Vec<SceneLayer> = scene.visible(output).into_iter().cloned().collect();
        let fresh = visible.iter().any(|layer| layer.fresh);
        self.collect_callbacks(&visible);
        if damage.is_empty() && !fresh {
            self.plan_callbacks();
            return;
        }
        match self.submit(&scene, &damage, &visible) {
            Ok(frame) => {
                self.screen.shown = scene.shown();
                for layer in &visible {
                    self.stack.surface(&layer.surface).latched();
                    let output = &self.screen.output;
                    output.enter(&layer.surface);
                }
                let number = frame.record.frame;
                self.screen.in_flight = Some(frame);
                self.watch_writeback(number);
            }
            Err(error) if self.screen.frames_shown() => {
                // The frame is tried again with the next change, or when the output is back.
                tracing::warn!("{error:#}");
                self.screen.backend.swapchain().damage_all();
            }
            // A display that does not even take the first frame is none.
            Err(error) => self.fail_with(
                exit::NO_DISPLAY,
                error.context("the display shows nothing, not even a first frame"),
            ),
        }
    }

    fn submit(
        &mut self,
        scene: &Scene,
        damage: &crate::region::Region,
        visible: &[SceneLayer],
    ) -> anyhow::Result<Frame> {
        let screen = &mut self.screen;
        let output = screen.mode().rect();
        let begun = clock::now();
        screen.backend.swapchain().damage(damage);
        let direct = direct::candidate(scene, output).and_then(|layer| {
            let framebuffer = screen.backend.submit_direct(&layer.content)?;
            Ok((layer.content.clone(), framebuffer))
        });
        let mut why_not_direct = None;
        let mut content = None;
        let mut composed = None;
        let framebuffer = match direct {
            Ok((shown, framebuffer)) => {
                content = Some(shown);
                #[cfg(feature = "planted-copy")]
                compose::by_cpu(&mut screen.backend, screen.renderer.software(), scene)?;
                // Nothing is drawn while a client's buffer is shown, and no memory of frames stays mapped.
                screen.backend.swapchain().rest();
                screen.backend.swapchain().submitted(None);
                Some(framebuffer)
            }
            Err(why) => {
                why_not_direct = Some(why.to_string());
                let blank = if visible.is_empty() {
                    screen.backend.submit_blank()
                } else {
                    None
                };
                match blank {
                    Some(framebuffer) => {
                        screen.backend.swapchain().rest();
                        screen.backend.swapchain().submitted(None);
                        Some(framebuffer?)
                    }
                    None => {
                        let drawn =
                            compose::compose(&mut screen.backend, &mut screen.renderer, scene)?;
                        let (place, fence) = (drawn.place, drawn.drawn.as_ref().map(AsFd::as_fd));
                        let framebuffer = screen.backend.submit_picture(place, damage, fence)?;
                        screen.backend.swapchain().submitted(Some(place));
                        composed = Some(drawn);
                        framebuffer
                    }
                }
            }
        };
        let own_bytes = screen.backend.swapchain().written_bytes();
        let moved = screen
            .meter
            .take(own_bytes.saturating_add(screen.renderer.uploaded_bytes()));
        let mut shown = visible
            .iter()
            .rev()
            .filter(|layer| layer.fresh)
            .map(describe);
        let first = shown.next();
        if first.is_some() {
            screen.frames += 1;
        }
        let record = FrameRecord {
            frame: first.is_some().then_some(screen.frames),
            shown: first.unwrap_or_else(ShownBuffer::nothing),
            others: shown.collect(),
            path: if content.is_some() {
                FramePath::Direct
            } else {
                FramePath::Composited
            },
            why_not_direct,
            renderer: composed.as_ref().map(|composed| composed.renderer),
            why_not_gles: composed
                .as_mut()
                .and_then(|composed: &mut Composed| composed.why_not_gles.take()),
            cpu_copied_bytes: moved.written_bytes,
            cpu_read_bytes: moved.read_bytes,
            flipped: None,
            sequence: 0,
            framebuffer,
        };
        let fresh = visible.iter().filter(|layer| layer.fresh);
        let traced: Vec<Traced> = fresh.filter_map(|layer| layer.content.traced()).collect();
        if composed.is_some() {
            let drawn = (begun, clock::now());
            for buffer in &traced {
                buffer.tell(COMPOSITOR, Action::Draw, Place::Through, drawn);
            }
        }
        let mut feedback = Vec::new();
        for layer in visible {
            with_states(&layer.surface, |states| {
                let mut state = states.cached_state.get::<PresentationFeedbackCachedState>();
                feedback.append(&mut state.current().callbacks);
            });
        }
        Ok(Frame {
            record,
            feedback,
            direct: content,
            picture: composed.as_ref().map(|composed| composed.place),
            traced,
            reading: composed.and_then(|composed| composed.reading),
        })
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
                    let CardEvent::Flipped { time, sequence } = event;
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
        for feedback in frame.feedback.drain(..) {
            feedback.presented(
                &self.screen.output,
                flip.time,
                refresh,
                u64::from(flip.sequence),
                flags,
            );
        }
        // The display waited for the GPU, which therefore reads nothing of this frame any more.
        frame.reading = None;
        frame.record.flipped = Some(flip.time);
        frame.record.sequence = flip.sequence;
        for buffer in &frame.traced {
            let display = self.screen.backend.name();
            buffer.tell(display, Action::Flip, Place::End, (flip.time, flip.time));
        }
        let number = frame.record.frame;
        if let Some(report) = &mut self.screen.report {
            report.add(frame.record.clone());
        }
        // The frame before is off the display only now: this is where its buffer goes back.
        drop(self.screen.on_display.replace(frame));
        if let Some(gles) = self.screen.renderer.gles() {
            gles.rest();
        }
        if let Some(report) = &mut self.screen.report {
            if let Err(error) = report.flush() {
                self.fail(anyhow::Error::new(error).context("the report cannot be written"));
            }
        }
        if let Some((path, after)) = &self.screen.screenshot {
            if number.is_some() && *after == number {
                let path = path.clone();
                self.screen.screenshot = None;
                self.save_screenshot(&path);
            }
        }
        self.plan_callbacks();
    }

    /// Finishes the report and saves the screenshot that is still owed.
    pub fn finish(&mut self) {
        if let Some((path, _)) = self.screen.screenshot.take() {
            self.save_screenshot(&path);
        }
        self.screen.in_flight = None;
        if let Some(report) = &mut self.screen.report {
            if let Err(error) = report.finish() {
                self.fail(anyhow::Error::new(error).context("the report cannot be written"));
            }
        }
    }
}

/// Describes the buffer of a layer as reports carry it.
fn describe(layer: &SceneLayer) -> ShownBuffer {
    let pid = layer
        .surface
        .client()
        .and_then(|client| client.get_data::<ClientState>()?.pid);
    let memory = layer.content.dmabuf().map(|dmabuf| dmabuf.buffer());
    ShownBuffer {
        surface: Some(layer.window.name()),
        client_pid: pid,
        buffer: memory.map(|memory| memory.identity().0),
        fourcc: Some(layer.content.format().name()),
        modifier: memory.map(|memory| memory.layout().format().modifier.to_string()),
        stride_bytes: layer.content.stride_bytes(),
        size: memory.map(|memory| memory.layout().extent()),
        planes: memory.map(ShownPlane::all).unwrap_or_default(),
        acquired: Some(layer.content.acquired()),
        released: layer.content.lock().mark(),
    }
}
