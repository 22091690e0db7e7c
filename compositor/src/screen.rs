//! An output: its position on the desktop, and its frames from the commit to the display.
//!
//! ```text
//!   commit ──▶ queued ──▶ deadline: composed or scanned out, submitted ──▶ in flight ──▶ on the display ──▶ replaced
//!                            frame callbacks                                    flip: feedback      buffers are released
//! ```
//!
//! Each step has a file: `frame_clock.rs` computes the deadline, `draw.rs` draws the frame at the deadline, `submit.rs` submits
//! it to the backend, `flip.rs` handles the page flip, and `recovery.rs` handles failures. `redraw_state.rs` has the states
//! between the steps, and alone knows which frame is in flight (submitted and not on the display yet). An output has at most one
//! frame in flight. Commits that arrive before the deadline of a refresh are shown together.

mod callbacks;
mod capture;
mod draw;
mod feedback;
mod flip;
mod frame_clock;
mod output_state;
mod recovery;
mod redraw_state;
mod submit;
mod writeback;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use feedback::Feedback;
use frame_clock::FrameClock;
use recovery::Recovery;
use redraw_state::{Queued, RedrawState};
use smithay::output::{Mode as OutputMode, Output, PhysicalProperties, Scale, Subpixel};
use smithay::reexports::wayland_server::backend::{GlobalId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{DisplayHandle, Resource};
use smithay::utils::Transform as OutputTransform;

use crate::backend::{Backend, Mode, ScannedOut};
use crate::compose::{GpuReadGuard, UnreadableLayer};
use crate::control::PresentedFrames;
use crate::event_loop::LoopHandle;
use crate::frame_trace::TracedBuffer;
use crate::options::OutputConfig;
use crate::output_view::{OutputId, OutputView};
use crate::outputs::SharedRenderer;
use crate::render::view::Transform;
use crate::report::FrameRecord;
use crate::scene::{Scene, ShownScene};
use crate::state::State;
use crate::writeback::Writeback;

pub use self::writeback::finish_writebacks;
pub use callbacks::PendingCallbacks;

/// An output with its backend, its renderer and its frames.
#[derive(Debug)]
pub struct Screen {
    id: OutputId,
    output: Output,
    /// The `wl_output` global; `None` while the display is not connected and another display is.
    global: Option<GlobalId>,
    config: OutputConfig,
    position: Option<(i32, i32)>,
    backend: Backend,
    renderer: SharedRenderer,
    shown_scene: ShownScene,
    /// The scene that the output buffer on the display shows: the shown scene without the layers on planes.
    drawn_scene: ShownScene,
    redraw_state: RedrawState,
    frame_clock: FrameClock,
    /// The time at which a frame was last drawn, or skipped because nothing had changed.
    drawn_at: Duration,
    frames: u64,
    on_display: Option<Frame>,
    /// The frames whose page flip was not reported. Any of them may be on the display until the next page flip.
    abandoned_frames: Vec<Frame>,
    /// The surfaces that have received `wl_surface.enter` for this output.
    entered: HashMap<ObjectId, WlSurface>,
    /// Whether the output has accepted a frame yet.
    first_frame_submitted: bool,
    recovery: Recovery,
    screenshot: Option<(PathBuf, Option<u64>)>,
    presented: PresentedFrames,
}

/// A frame that was submitted.
#[derive(Debug)]
struct Frame {
    record: FrameRecord,
    feedback: Feedback,
    /// The layers that could not be read and are missing in the frame.
    unreadable: Vec<UnreadableLayer>,
    /// Whether the primary plane shows an output buffer, including the black one.
    is_drawn: bool,
    /// The clients' buffers that planes show.
    scanned_out: Vec<ScannedOut>,
    output_buffer: Option<usize>,
    /// The trace identities of the buffers with new content.
    traced_buffers: Vec<TracedBuffer>,
    /// The clients' buffers that the GPU reads while it draws the frame.
    gpu_read: Option<GpuReadGuard>,
    /// Whether the frame was drawn while the session was locked.
    is_locked: bool,
}

impl Screen {
    /// Creates the output of `backend` with its `wl_output` global. `renderer` composes its frames. [`announce`](Self::announce)
    /// sends the mode to clients after the output has got a position.
    pub(crate) fn new(
        display: &DisplayHandle,
        id: OutputId,
        mut backend: Backend,
        renderer: SharedRenderer,
        config: OutputConfig,
    ) -> Self {
        backend.set_output(id);
        let monitor = backend.monitor();
        let output = Output::new(
            backend.name().to_owned(),
            PhysicalProperties {
                size: monitor.size_millimetres.into(),
                subpixel: Subpixel::Unknown,
                make: monitor.make,
                model: monitor.model,
            },
        );
        Self {
            id,
            global: Some(output.create_global::<State>(display)),
            output,
            position: config.position,
            config,
            backend,
            renderer,
            shown_scene: ShownScene::default(),
            drawn_scene: ShownScene::default(),
            // A first frame is submitted even without windows, so that the previous content of the display is replaced.
            redraw_state: RedrawState::Queued(Queued::New),
            frame_clock: FrameClock::default(),
            drawn_at: Duration::ZERO,
            frames: 0,
            on_display: None,
            abandoned_frames: Vec::new(),
            entered: HashMap::new(),
            first_frame_submitted: false,
            recovery: Recovery::default(),
            screenshot: None,
            presented: PresentedFrames::default(),
        }
    }

    /// Returns the identity of the output.
    pub fn id(&self) -> OutputId {
        self.id
    }

    /// Requests a screenshot of the frame with number `frame_number`, or of the last frame if it is `None`.
    pub fn set_screenshot(&mut self, path: PathBuf, frame_number: Option<u64>) {
        self.screenshot = Some((path, frame_number));
    }

    /// Returns the current mode.
    pub fn mode(&self) -> Mode {
        self.backend.mode()
    }

    /// Returns the position of the output on the desktop, with its scale and transform.
    pub fn view(&self) -> OutputView {
        OutputView::new(
            self.id,
            self.position.unwrap_or_default(),
            self.mode().rect(),
            self.config.scale,
            self.config.transform,
        )
    }

    /// Returns the configuration of the output.
    pub(crate) fn config(&self) -> &OutputConfig {
        &self.config
    }

    /// Changes the configuration of the output. The caller computes the layout of the desktop again.
    pub(crate) fn set_config(&mut self, config: OutputConfig) {
        self.position = config.position;
        self.config = config;
    }

    /// Returns whether the position of the output is configured.
    pub fn is_placed(&self) -> bool {
        self.config.position.is_some()
    }

    /// Sets the position of the upper left corner on the desktop.
    pub(crate) fn set_position(&mut self, position: (i32, i32)) {
        self.position = Some(position);
    }

    /// Returns Smithay's output, which clients see as `wl_output`.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Creates the `wl_output` global again, after the display was connected again.
    pub(crate) fn publish(&mut self, display: &DisplayHandle) {
        if self.global.is_none() {
            self.global = Some(self.output.create_global::<State>(display));
        }
    }

    /// Takes the `wl_output` global, so that the caller can remove it.
    pub(crate) fn withdraw(&mut self) -> Option<GlobalId> {
        self.global.take()
    }

    /// Returns the backend.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// Returns the renderer.
    pub fn renderer(&self) -> &SharedRenderer {
        &self.renderer
    }

    /// Returns the backend.
    pub fn backend_mut(&mut self) -> &mut Backend {
        &mut self.backend
    }

    /// Sends `wl_surface.leave` to all surfaces and removes the timers, because the output is removed.
    fn leave_all(&mut self, handle: &LoopHandle) {
        for surface in std::mem::take(&mut self.entered).into_values() {
            self.output.leave(&surface);
        }
        self.redraw_state.replace(handle, RedrawState::Idle);
    }

    /// Removes a destroyed surface from the entered surfaces. Smithay's output would keep it in its list.
    pub(crate) fn surface_destroyed(&mut self, surface: &WlSurface) {
        self.output.leave(surface);
        self.entered.remove(&surface.id());
    }

    /// Returns the colour (`0xAARRGGBB`) that the display shows where no surface is.
    pub(crate) fn background_of(&self, scene: &Scene) -> u32 {
        let shows_blank =
            self.backend.has_blank_buffer() && scene.visible(self.mode().rect()).is_empty();
        if shows_blank {
            submit::BLANK
        } else {
            scene.background
        }
    }

    /// Schedules a frame for the next refresh.
    pub fn schedule_redraw(&mut self) {
        self.redraw_state.queue();
    }

    /// Returns whether the frame on the display shows the current scene and no other frame is in flight.
    pub fn is_up_to_date(&self) -> bool {
        !self.redraw_state.needs_redraw()
            && self.redraw_state.flight().is_none()
            && self.on_display.is_some()
    }

    /// Returns the number of frames with new content of a client so far.
    pub fn frame_count(&self) -> u64 {
        self.frames
    }

    /// Returns whether the output accepts frames: the session is active and the display is connected.
    pub fn is_on(&self) -> bool {
        self.backend.is_on()
    }

    /// Returns whether the display of the output is connected, so that the output is part of the desktop.
    pub fn is_connected(&self) -> bool {
        self.backend.is_connected()
    }

    /// Returns the counters of the frames that this output has presented.
    pub fn presented(&self) -> &PresentedFrames {
        &self.presented
    }

    /// Returns the record of the frame on the display; `None` before the first frame.
    pub fn displayed(&self) -> Option<&FrameRecord> {
        self.on_display.as_ref().map(|frame| &frame.record)
    }

    /// Releases the clients' buffers that the display was reading, after the display was turned off.
    fn release_scanout_buffers(&mut self) {
        self.abandoned_frames.clear();
        if let Some(frame) = &mut self.on_display {
            frame.release_buffers();
        }
    }

    /// Returns the writeback of the display, if one was requested.
    fn writeback(&mut self) -> Option<&mut Writeback> {
        self.backend.kms()?.writeback()
    }

    /// Sends the mode, position, scale and transform to clients.
    pub(crate) fn announce(&self) {
        let mode = self.backend.mode();
        let mode = OutputMode {
            size: (mode.width, mode.height).into(),
            refresh: i32::try_from(mode.refresh_millihertz).unwrap_or(0),
        };
        // Clients see only the current mode of the output, which is also announced as the preferred one.
        for other in self.output.modes() {
            if other != mode {
                self.output.delete_mode(other);
            }
        }
        self.output.set_preferred(mode);
        self.output.change_current_state(
            Some(mode),
            Some(output_transform(self.config.transform)),
            Some(Scale::Fractional(self.config.scale)),
            Some(self.position.unwrap_or_default().into()),
        );
    }
}

/// Converts a transform to the type that Smithay sends to clients.
fn output_transform(transform: Transform) -> OutputTransform {
    match transform {
        Transform::Normal => OutputTransform::Normal,
        Transform::Rotated90 => OutputTransform::_90,
        Transform::Rotated180 => OutputTransform::_180,
        Transform::Rotated270 => OutputTransform::_270,
        Transform::Flipped => OutputTransform::Flipped,
        Transform::Flipped90 => OutputTransform::Flipped90,
        Transform::Flipped180 => OutputTransform::Flipped180,
        Transform::Flipped270 => OutputTransform::Flipped270,
    }
}
