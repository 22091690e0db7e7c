//! Captures of outputs into clients' buffers.
//!
//! ```text
//!   copy ──▶ waits for a frame ──▶ drawn from the scene of the frame ──▶ page flip ──▶ GPU has finished ──▶ ready
//!            or for damage          (again in a later frame while the buffer is busy)
//! ```
//!
//! A capture is drawn after the frame that contains the latest commits was submitted. If nothing has changed, it is drawn at the
//! deadline at which the frame would have been drawn, and no page flip is waited for.
//!
//! `screencopy.rs` and `image_copy.rs` have the requests and events of the two protocols, `picture.rs` draws, `buffer.rs` writes
//! the client's buffer, and `history.rs` keeps the damage of the latest frames.

mod buffer;
mod history;
mod image_copy;
mod picture;
mod screencopy;

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use calloop::timer::TimeoutAction;
use covalent_alloc::buffer::cpu_traffic;
use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_frame_v1::FailureReason;
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_output::Transform;
use smithay::reexports::wayland_server::{Client, DisplayHandle};

use crate::clock;
use crate::compose::GpuReadGuard;
use crate::connection::expect_events;
use crate::limits::{Charge, Limit};
use crate::output_view::OutputId;
use crate::region::{Rect, Region};
use crate::render::PixelFormat;
use crate::render::gles::PendingRead;
use crate::scene::Scene;
use crate::screen::Screen;
use crate::state::{State, usage_of};

use buffer::CaptureBuffer;
use history::DamageHistory;
use image_copy::{ImageCopyFrame, Session};
use picture::{Drawn, Picture, moved};
use screencopy::ScreencopyFrame;

pub use history::SceneChanges;

/// The pixel format of captures. The output buffers have the same.
const FORMAT: PixelFormat = PixelFormat::Xrgb8888;

/// The time after which no further capture is drawn for a frame. At least one is drawn. The others are drawn for the next frames.
const BUDGET: Duration = Duration::from_millis(4);

/// The number of frames for which a capture is tried again while its buffer is used by a device, or a surface cannot be read.
const ATTEMPTS_MAX: u32 = 60;

/// The number of frames after which a capture is sent without the surfaces that cannot be read. The display lacks them as well.
const READ_ATTEMPTS: u32 = 8;

/// The time between two queries of whether the GPU has finished a capture.
const POLL_PERIOD: Duration = Duration::from_millis(1);

/// The rectangle that a capture shows, and the mode for which it was computed.
#[derive(Clone, Copy, Debug)]
struct Source {
    output: OutputId,
    /// The mode of the output in pixels. The capture fails if it changes.
    mode: Rect,
    /// The captured rectangle in pixels of the mode.
    area: Rect,
    /// Whether the pointer is drawn.
    with_cursor: bool,
    /// The transform of the output, with which its pixels are captured.
    transform: Transform,
}

impl Source {
    /// Describes a part of an output.
    fn new(screen: &Screen, area: Rect, with_cursor: bool) -> Self {
        Self {
            output: screen.id(),
            mode: screen.mode().rect(),
            area,
            with_cursor,
            transform: screen.output().current_transform().into(),
        }
    }

    /// Returns the width and height of the captured rectangle in pixels.
    fn size(&self) -> (u32, u32) {
        (
            self.area.width.unsigned_abs(),
            self.area.height.unsigned_abs(),
        )
    }
}

/// Identifies the sequence of captures within which a client receives damage.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sequence {
    /// The client's object to which the captures belong.
    owner: ObjectId,
    output: OutputId,
    with_cursor: bool,
}

/// A capture that a client requested.
#[derive(Debug)]
struct Capture {
    source: Source,
    sequence: Sequence,
    /// Whether the capture is drawn only when the source has damage since the previous capture of the sequence.
    waits_for_damage: bool,
    buffer: CaptureBuffer,
    client: Client,
    frame: CaptureFrame,
    progress: Progress,
    attempts: u32,
    _charge: Charge,
}

impl Capture {
    /// Checks that the client has not destroyed the buffer.
    fn check_buffer(&self) -> Result<(), CaptureError> {
        if self.buffer.is_alive() {
            return Ok(());
        }
        Err(CaptureError::of_buffer("the client destroyed the buffer"))
    }

    /// Checks that the capture was not tried too often.
    fn check_attempts(&self) -> Result<(), CaptureError> {
        if self.attempts < ATTEMPTS_MAX {
            return Ok(());
        }
        Err(CaptureError {
            reason: FailureReason::Unknown,
            message: "a device of the client uses the buffer".to_owned(),
        })
    }
}

/// The client's object that receives the events of a capture.
#[derive(Debug)]
enum CaptureFrame {
    Screencopy(ScreencopyFrame),
    ImageCopy(ImageCopyFrame),
}

impl CaptureFrame {
    fn id(&self) -> ObjectId {
        match self {
            Self::Screencopy(frame) => frame.id(),
            Self::ImageCopy(frame) => frame.id(),
        }
    }

    /// Sends the events of a successful capture. `damage` is in pixels of the buffer, and `shown` is the time at which the
    /// content was presented.
    fn ready(&self, source: &Source, damage: &Region, shown: Duration) {
        match self {
            Self::Screencopy(frame) => frame.ready(damage, shown),
            Self::ImageCopy(frame) => frame.ready(source.transform, damage, shown),
        }
    }

    fn failed(&self, reason: FailureReason) {
        match self {
            Self::Screencopy(frame) => frame.failed(),
            Self::ImageCopy(frame) => frame.failed(reason),
        }
    }
}

/// The reason why a capture failed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct CaptureError {
    reason: FailureReason,
    message: String,
}

impl CaptureError {
    /// The client's buffer cannot be used.
    fn of_buffer(error: impl ToString) -> Self {
        Self {
            reason: FailureReason::BufferConstraints,
            message: error.to_string(),
        }
    }

    /// The output was removed.
    fn of_output() -> Self {
        Self {
            reason: FailureReason::Stopped,
            message: "the output was removed".to_owned(),
        }
    }
}

impl From<io::Error> for CaptureError {
    fn from(error: io::Error) -> Self {
        Self {
            reason: FailureReason::Unknown,
            message: error.to_string(),
        }
    }
}

#[derive(Debug)]
enum Progress {
    /// The capture waits for a frame, or for damage.
    Waiting,
    /// The capture was drawn.
    Drawn {
        pixels: UnfinishedPixels,
        /// The damage since the previous capture, in pixels of the buffer.
        damage: Region,
        /// The time at which the frame was shown; `None` before its page flip.
        shown: Option<Duration>,
    },
}

/// Pixels that may not be in the client's buffer yet.
#[derive(Debug)]
enum UnfinishedPixels {
    InBuffer,
    GpuDraws(GpuReadGuard),
    GpuReads(PendingRead, GpuReadGuard),
}

/// The captures of all clients.
#[derive(Debug, Default)]
pub struct Captures {
    /// The captures, in the order in which they were requested.
    pending: Vec<Capture>,
    histories: HashMap<OutputId, DamageHistory>,
    /// The number of the frame of the previous capture of each sequence.
    seen: HashMap<Sequence, u64>,
    /// The capture sessions that clients have not destroyed.
    sessions: HashMap<ObjectId, Session>,
    /// The outputs for which a timer will schedule a redraw, for the captures that were left out of a frame.
    postponed: HashSet<OutputId>,
    /// Whether a timer will query whether the GPU has finished.
    polls: bool,
}

impl Captures {
    /// Creates the globals.
    pub(crate) fn new(display: &DisplayHandle) -> Self {
        screencopy::create_global(display);
        image_copy::create_globals(display);
        Self::default()
    }

    /// Returns the number of captures that are not finished.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Removes the captures of a destroyed frame object.
    fn remove(&mut self, frame: &ObjectId) {
        self.pending.retain(|capture| capture.frame.id() != *frame);
    }

    /// Forgets the sequences of a destroyed object.
    fn forget_owner(&mut self, owner: &ObjectId) {
        self.seen.retain(|sequence, _| sequence.owner != *owner);
    }

    /// Returns the damage of a capture's source since the previous capture of its sequence, in pixels of the buffer.
    fn damage(&self, capture: &Capture) -> Region {
        let source = &capture.source;
        let seen = self.seen.get(&capture.sequence).copied();
        let mut damage = match self.histories.get(&source.output) {
            Some(history) => history.since(seen, source.with_cursor, source.mode),
            None => source.mode.into(),
        };
        damage.clip(source.area);
        moved(
            &damage,
            source.area.x.saturating_neg(),
            source.area.y.saturating_neg(),
        )
    }

    /// Returns whether a capture can be drawn with the next frame of an output.
    fn is_due(&self, capture: &Capture, output: OutputId) -> bool {
        capture.source.output == output
            && matches!(capture.progress, Progress::Waiting)
            && (!capture.waits_for_damage || !self.damage(capture).is_empty())
    }
}

impl State {
    /// Adds a capture, and schedules a frame for it, unless it waits for damage.
    fn add_capture(
        &mut self,
        client: &Client,
        source: Source,
        sequence: Sequence,
        buffer: CaptureBuffer,
        (frame, waits_for_damage): (CaptureFrame, bool),
    ) {
        if let Err(reason) = self.check_source(&source) {
            frame.failed(reason);
            return;
        }
        let charge = match usage_of(client).charge(Limit::Captures, 1) {
            Ok(charge) => charge,
            Err(exceeded) => {
                self.connections.disconnect(&self.display, client, exceeded);
                return;
            }
        };
        let capture = Capture {
            source,
            sequence,
            waits_for_damage,
            buffer,
            client: client.clone(),
            frame,
            progress: Progress::Waiting,
            attempts: 0,
            _charge: charge,
        };
        let is_due = self.captures.is_due(&capture, source.output);
        self.captures.pending.push(capture);
        if is_due {
            if let Some(screen) = self.outputs.get_mut(source.output) {
                screen.schedule_redraw();
            }
        }
    }

    /// Checks that the output of a source shows frames in the mode of the source.
    fn check_source(&self, source: &Source) -> Result<(), FailureReason> {
        let screen = self.outputs.get(source.output);
        match screen.filter(|screen| screen.is_connected()) {
            None => Err(FailureReason::Stopped),
            Some(screen) if screen.mode().rect() != source.mode => {
                Err(FailureReason::BufferConstraints)
            }
            Some(screen) if !screen.is_on() => Err(FailureReason::Unknown),
            Some(_) => Ok(()),
        }
    }

    /// Fails the captures of outputs that were removed or turned off, or whose mode has changed. The whole of every other output
    /// counts as damaged.
    pub(crate) fn check_captures(&mut self) {
        for history in self.captures.histories.values_mut() {
            history.reset();
        }
        let mut captures = std::mem::take(&mut self.captures.pending);
        captures.retain(|capture| match self.check_source(&capture.source) {
            Ok(()) => true,
            Err(reason) => {
                let message = "the output was removed, turned off or changed its mode".to_owned();
                self.fail_capture(capture, &CaptureError { reason, message });
                false
            }
        });
        self.captures.pending = captures;
        self.update_sessions();
    }

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
        let picture = Picture {
            scene,
            area: source.area,
            with_cursor: source.with_cursor,
            background: screen.background_of(scene),
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
        let history = self.captures.histories.entry(source.output).or_default();
        let frame = history.frame();
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
    fn fail_capture(&mut self, capture: &Capture, error: &CaptureError) {
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

/// Splits seconds into their high and their low 32 bits, as the protocols send them.
fn halves(seconds: u64) -> (u32, u32) {
    let low = seconds & u64::from(u32::MAX);
    (
        u32::try_from(seconds >> 32).unwrap_or(u32::MAX),
        u32::try_from(low).unwrap_or(u32::MAX),
    )
}
