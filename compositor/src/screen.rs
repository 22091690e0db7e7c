//! Frames: when one is drawn, which way its pixels take, and what happens when it is on the display.
//!
//! ```text
//!   commit ──▶ wanted ──▶ drawn and submitted ──▶ in flight ──▶ on the display ──▶ replaced
//!                ▲  the output is idle              │ flip         callbacks, feedback   buffers go back,
//!                └──────────────────────────────────┘                                    report is written
//! ```
//!
//! One frame is in flight at most; commits that come meanwhile are gathered for the next one.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Interest, Mode as CalloopMode, PostAction};
use covalent_alloc::buffer::cpu_traffic;
use smithay::output::{Mode as OutputMode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::reexports::wayland_server::protocol::wl_callback::WlCallback;
use smithay::reexports::wayland_server::{DisplayHandle, Resource};
use smithay::wayland::compositor::{SurfaceAttributes, with_states};
use smithay::wayland::presentation::{
    PresentationFeedbackCachedState, PresentationFeedbackCallback, Refresh,
};

use crate::backend::kms::Plug;
use crate::backend::{Backend, Flip, Mode};
use crate::clock;
use crate::compose::{self, Composed, Reading};
use crate::content::Content;
use crate::direct;
use crate::kms::Event as CardEvent;
use crate::meter::Meter;
use crate::render::{Pixels, Renderer};
use crate::report::{FramePath, FrameRecord, Report, Shown as ShownBuffer};
use crate::run::exit;
use crate::scene::{Scene, SceneLayer, Shown};
use crate::state::State;
use crate::writeback::Writeback;

/// How long a picture that is written back may take before it is asked for again: vkms needs 20 ms on an emulated machine.
const WRITEBACK_PATIENCE: Duration = Duration::from_millis(500);

/// How often a picture is asked for.
const WRITEBACK_ATTEMPTS: u32 = 60;

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

    /// Takes the callbacks of surfaces that can be seen; the others wait until they can.
    fn collect_callbacks(&mut self, visible: &[SceneLayer]) {
        for layer in visible {
            with_states(&layer.surface, |states| {
                let mut attributes = states.cached_state.get::<SurfaceAttributes>();
                self.screen
                    .callbacks
                    .append(&mut attributes.current().frame_callbacks);
            });
        }
        // A surface without content cannot be seen, but a client may wait for its callback before it draws.
        for window in self.stack.windows() {
            let surface = window.toplevel.wl_surface();
            if self
                .stack
                .find(surface)
                .is_none_or(|state| state.content().is_none())
            {
                with_states(surface, |states| {
                    let mut attributes = states.cached_state.get::<SurfaceAttributes>();
                    self.screen
                        .callbacks
                        .append(&mut attributes.current().frame_callbacks);
                });
            }
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
            .map(|layer| describe(layer, &self.display));
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

    /// Makes the mode that of a fullscreen window's buffer, where that was asked for.
    fn match_mode(&mut self) {
        let wanted = self
            .stack
            .top()
            .filter(|window| window.fullscreen)
            .and_then(|window| {
                let surface = self.stack.find(window.toplevel.wl_surface())?;
                let content = surface.content()?;
                content.dmabuf()?;
                // The buffer's own size: a surface may be scaled to the mode because it does not fit.
                let (width, height) = content.size();
                Some((i32::try_from(width).ok()?, i32::try_from(height).ok()?))
            });
        if self.screen.backend.match_size(wanted) {
            self.output_changed();
        }
    }

    /// Tells clients that the output has another mode, and draws everything anew.
    pub fn output_changed(&mut self) {
        self.screen.announce_mode();
        self.screen.shown = Shown::default();
        self.screen.backend.swapchain().damage_all();
        self.screen.wanted = true;
        self.mode_changed();
    }

    /// Stops showing frames while another program drives the display.
    pub fn pause(&mut self) {
        if let Some(kms) = self.screen.backend.kms() {
            kms.pause();
        }
        if let Some(devices) = &mut self.devices {
            devices.pause();
        }
    }

    /// Shows frames again.
    pub fn resume(&mut self) {
        if let Some(devices) = &mut self.devices {
            devices.resume();
        }
        if let Some(kms) = self.screen.backend.kms() {
            kms.resume();
        }
        self.abandon_frame();
        self.output_changed();
    }

    /// Takes in that displays were plugged or unplugged.
    pub fn hotplug(&mut self) {
        let plug = self.screen.backend.kms().map(|kms| kms.hotplug());
        match plug {
            None | Some(Plug::Same) => {}
            Some(Plug::Gone) => self.abandon_frame(),
            Some(Plug::Changed) => {
                self.abandon_frame();
                self.output_changed();
            }
        }
    }

    /// Gives up on a frame that will not reach the display; its buffers go back with the next one.
    fn abandon_frame(&mut self) {
        if let Some(writeback) = self.screen.writeback() {
            writeback.abandon();
        }
        if let Some(frame) = self.screen.in_flight.take() {
            for feedback in frame.feedback {
                feedback.discarded();
            }
        }
        self.plan_callbacks();
    }

    /// Switches to another console.
    pub fn switch_console(&mut self, number: i32) {
        if let Some(kms) = self.screen.backend.kms() {
            kms.seat().switch_console(number);
        }
    }

    /// Puts the picture of a frame down when the card has written it back.
    fn watch_writeback(&mut self, frame: Option<u64>) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        writeback.number(frame);
        self.await_writeback(1);
    }

    /// Waits for the picture that was asked for last, `attempt` times until now.
    fn await_writeback(&mut self, attempt: u32) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        let Some(request) = writeback.outstanding() else {
            return;
        };
        let Some(fence) = writeback.take_fence() else {
            self.look_at_writeback();
            return;
        };
        let source = Generic::new(fence, Interest::READ, CalloopMode::Level);
        let watched = self.handle.insert_source(source, move |_, _, state| {
            state.look_at_writeback();
            Ok(PostAction::Remove)
        });
        let timer = Timer::from_duration(WRITEBACK_PATIENCE);
        let timed = self
            .handle
            .insert_source(timer, move |_, (), state: &mut Self| {
                state.writeback_is_late(request, attempt)
            });
        if watched.is_err() || timed.is_err() {
            self.fail(anyhow::anyhow!(
                "a picture that is written back cannot be waited for"
            ));
        }
    }

    fn look_at_writeback(&mut self) {
        let Some(writeback) = self.screen.writeback() else {
            return;
        };
        let before = cpu_traffic();
        let looked = writeback.look();
        self.screen.meter.set_aside(before);
        match looked {
            Ok(false) => {}
            Ok(true) => {
                let timer = Timer::from_duration(self.screen.mode().period());
                let rest = self.handle.insert_source(timer, |_, (), state: &mut Self| {
                    if let Some(writeback) = state.screen.writeback() {
                        writeback.rested();
                    }
                    TimeoutAction::Drop
                });
                if let Err(error) = rest {
                    self.fail(anyhow::anyhow!("the card cannot rest: {}", error.error));
                }
            }
            Err(error) => {
                self.fail(anyhow::Error::new(error).context("a picture cannot be written back"));
            }
        }
    }

    /// Asks again for a picture that did not come.
    fn writeback_is_late(&mut self, request: u64, attempt: u32) -> TimeoutAction {
        let Some(kms) = self.screen.backend.kms() else {
            return TimeoutAction::Drop;
        };
        if kms
            .writeback()
            .and_then(|writeback| writeback.outstanding())
            != Some(request)
        {
            return TimeoutAction::Drop;
        }
        if attempt >= WRITEBACK_ATTEMPTS {
            self.fail(anyhow::anyhow!(
                "the card writes no picture back, asked {attempt} times"
            ));
            return TimeoutAction::Drop;
        }
        if !kms.write_again() {
            return TimeoutAction::ToDuration(WRITEBACK_PATIENCE);
        }
        tracing::info!(attempt, "a picture is asked for again: the card lost it");
        self.await_writeback(attempt.saturating_add(1));
        TimeoutAction::Drop
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

    /// Sends the frame callbacks, or plans to when the output's period is over.
    fn plan_callbacks(&mut self) {
        if self.screen.callbacks.is_empty() || self.screen.callbacks_planned {
            return;
        }
        let now = clock::now();
        let period = self.screen.mode().period();
        let due = self.screen.callbacks_at.saturating_add(period);
        // A display without a refresh of its own answers at once: clients that draw on callbacks must not spin with it.
        let wait = due.saturating_sub(now);
        if wait <= period / 5 {
            self.send_callbacks();
            return;
        }
        let timer = Timer::from_duration(wait);
        let planned = self.handle.insert_source(timer, |_, _, state: &mut Self| {
            state.screen.callbacks_planned = false;
            state.send_callbacks();
            TimeoutAction::Drop
        });
        match planned {
            Ok(_) => self.screen.callbacks_planned = true,
            Err(_) => self.send_callbacks(),
        }
    }

    fn send_callbacks(&mut self) {
        let now = clock::now();
        self.screen.callbacks_at = now;
        for callback in self.screen.callbacks.drain(..) {
            callback.done(clock::milliseconds(now));
        }
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

    fn save_screenshot(&mut self, path: &std::path::Path) {
        let before = cpu_traffic();
        let saved = self.screen.picture().and_then(|(size, colours)| {
            crate::screenshot::save(path, size, &colours)
                .map_err(|error| anyhow::Error::new(error).context(format!("{}", path.display())))
        });
        self.screen.meter.set_aside(before);
        match saved {
            Ok(()) => tracing::info!(path = %path.display(), "screenshot saved"),
            Err(error) => tracing::error!("no screenshot: {error:#}"),
        }
    }
}

impl Screen {
    /// Tells whether what is on the display is all there is to show.
    pub fn is_quiet(&self) -> bool {
        !self.wanted && self.in_flight.is_none() && self.on_display.is_some()
    }

    /// Reads what is on the display: its size and its colours (`0xAARRGGBB`).
    ///
    /// # Errors
    ///
    /// When nothing was shown yet, or its memory cannot be read.
    pub fn picture(&mut self) -> anyhow::Result<((u32, u32), Vec<u32>)> {
        let frame = self
            .on_display
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no frame was shown yet"))?;
        if let Some(content) = &frame.direct {
            let (width, height) = content.size();
            let colours = crate::screenshot::decode(&**content)?;
            return Ok(((u32::try_from(width)?, u32::try_from(height)?), colours));
        }
        let Some(place) = frame.picture else {
            // Nothing was shown, by a picture that nobody draws to.
            let mode = self.backend.mode();
            let size = (u32::try_from(mode.width)?, u32::try_from(mode.height)?);
            let pixels = usize::try_from(mode.rect().area())?;
            return Ok((size, vec![0xff00_0000; pixels]));
        };
        let target = self
            .backend
            .swapchain()
            .target(place)
            .ok_or_else(|| anyhow::anyhow!("the frame's picture is gone"))?;
        let (width, height) = target.size();
        let colours = match (target.dmabuf(), self.renderer.gles()) {
            (Some(picture), Some(gles)) => gles.read(picture)?,
            _ => target.read()?,
        };
        Ok(((u32::try_from(width)?, u32::try_from(height)?), colours))
    }
}

/// Describes the buffer of a layer as reports carry it.
fn describe(layer: &SceneLayer, display: &DisplayHandle) -> ShownBuffer {
    let pid = layer
        .surface
        .client()
        .and_then(|client| client.get_credentials(display).ok())
        .map(|credentials| credentials.pid);
    let memory = layer.content.dmabuf().map(|dmabuf| dmabuf.buffer());
    ShownBuffer {
        surface: Some(layer.window.name()),
        client_pid: pid,
        buffer: memory.map(|memory| memory.identity().0),
        fourcc: Some(layer.content.format().name()),
        modifier: memory.map(|memory| memory.layout().format().modifier.to_string()),
        stride_bytes: layer.content.stride_bytes(),
        acquired: Some(layer.content.acquired()),
        released: layer.content.lock().mark(),
    }
}
