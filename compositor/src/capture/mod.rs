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
//! `screencopy.rs`, `image_copy.rs` and `cursor_session.rs` have the requests and events of the protocols, `frames.rs` draws
//! captures with the frames of their output, `picture.rs` composes them, `buffer.rs` writes the client's buffer, and `history.rs`
//! keeps the damage of the latest frames.

mod buffer;
mod cursor_session;
mod frames;
mod history;
mod image_copy;
mod picture;
mod screencopy;

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Duration;

use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_frame_v1::FailureReason;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_output::Transform;
use smithay::reexports::wayland_server::{Client, DisplayHandle};

use crate::compose::GpuReadGuard;
use crate::limits::{Charge, Limit};
use crate::output_view::OutputId;
use crate::region::{Rect, Region};
use crate::render::PixelFormat;
use crate::render::gles::PendingRead;
use crate::screen::Screen;
use crate::state::{State, usage_of};

use buffer::CaptureBuffer;
use cursor_session::{CursorSession, Pointer, ShownPointer};
use history::DamageHistory;
use image_copy::{ImageCopyFrame, Session};
use picture::moved;
use screencopy::ScreencopyFrame;

pub use history::SceneChanges;

/// The pixel format of captures. The output buffers have the same.
const FORMAT: PixelFormat = PixelFormat::Xrgb8888;

/// The number of frames for which a capture is tried again while its buffer is used by a device, or a surface cannot be read.
const ATTEMPTS_MAX: u32 = 60;

/// What a capture shows of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CapturedContent {
    Surfaces,
    SurfacesAndPointer,
    /// The image of the pointer alone.
    Pointer,
}

impl CapturedContent {
    /// Returns the content of an output's capture with or without the pointer.
    fn of_output(with_cursor: bool) -> Self {
        if with_cursor {
            Self::SurfacesAndPointer
        } else {
            Self::Surfaces
        }
    }
}

/// The rectangle that a capture shows, and the mode for which it was computed.
#[derive(Clone, Copy, Debug)]
struct Source {
    output: OutputId,
    /// The mode of the output in pixels. The capture fails if it changes.
    mode: Rect,
    /// The captured rectangle in pixels of the mode. Of the pointer's image, it has only the size.
    area: Rect,
    content: CapturedContent,
    /// The transform of the output, with which its pixels are captured.
    transform: Transform,
}

impl Source {
    /// Describes a part of an output.
    fn new(screen: &Screen, area: Rect, content: CapturedContent) -> Self {
        Self {
            output: screen.id(),
            mode: screen.mode().rect(),
            area,
            content,
            transform: screen.output().current_transform().into(),
        }
    }

    /// Returns the pixel format of the captures. Only the pointer's image alone has transparent pixels.
    fn format(&self) -> PixelFormat {
        match self.content {
            CapturedContent::Pointer => PixelFormat::Argb8888,
            CapturedContent::Surfaces | CapturedContent::SurfacesAndPointer => FORMAT,
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
    content: CapturedContent,
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
    /// The cursor sessions that clients have not destroyed.
    cursor_sessions: HashMap<ObjectId, CursorSession>,
    /// The pointer on each output that has cursor sessions.
    pointers: HashMap<OutputId, Pointer>,
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
        if source.content == CapturedContent::Pointer {
            let is_changed = seen != Some(self.latest(source));
            let is_shown = self.pointer_on(source.output).is_some();
            return if is_changed && is_shown {
                source.area.into()
            } else {
                Region::default()
            };
        }
        let with_cursor = source.content == CapturedContent::SurfacesAndPointer;
        // The history of an output that has not changed since the first capture does not exist yet.
        let unchanged = DamageHistory::default();
        let history = self.histories.get(&source.output).unwrap_or(&unchanged);
        let mut damage = history.since(seen, with_cursor, source.mode);
        damage.clip(source.area);
        moved(
            &damage,
            source.area.x.saturating_neg(),
            source.area.y.saturating_neg(),
        )
    }

    /// Returns the number of the latest frame that changed a source.
    fn latest(&self, source: &Source) -> u64 {
        if source.content == CapturedContent::Pointer {
            let pointer = self.pointers.get(&source.output);
            return pointer.map_or(0, |pointer| pointer.changes);
        }
        let history = self.histories.get(&source.output);
        history.map_or(0, DamageHistory::frame)
    }

    /// Returns the pointer in the latest frame of an output that has cursor sessions.
    fn pointer_on(&self, output: OutputId) -> Option<ShownPointer> {
        self.pointers.get(&output)?.shown
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
        self.check_pointers();
        self.update_sessions();
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
