//! Cursor sessions of `ext_image_copy_capture_v1`: the position of the pointer on an output, and its image alone.
//!
//! The image has the pixels that the output shows, so it is scaled as on the output. The state of the pointer is that of the
//! latest frame of the output.

use std::sync::{Mutex, PoisonError};

use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_cursor_session_v1::{
    self, Error, ExtImageCopyCaptureCursorSessionV1,
};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::{Client, DataInit, Dispatch, DisplayHandle, Resource};

use super::image_copy::SessionData;
use super::{CapturedContent, Source};
use crate::connection::expect_events;
use crate::cursor::PixelsId;
use crate::output_view::OutputId;
use crate::region::Rect;
use crate::scene::Scene;
use crate::state::State;

/// The user data of a cursor session.
#[derive(Debug)]
pub struct CursorSessionData {
    output: Option<OutputId>,
    /// Whether the client has created the capture session.
    has_session: Mutex<bool>,
}

impl CursorSessionData {
    /// Creates the data of a session of an output; `None` if the output is gone.
    pub(super) fn new(output: Option<OutputId>) -> Self {
        Self {
            output,
            has_session: Mutex::new(false),
        }
    }
}

/// A cursor session that the client has not destroyed.
#[derive(Debug)]
pub(super) struct CursorSession {
    object: ExtImageCopyCaptureCursorSessionV1,
    output: OutputId,
    /// The position and the hotspot that were sent; `None` while the pointer is outside of the output.
    sent: Option<[(i32, i32); 2]>,
}

/// The size of the image, in pixels, before the output has shown the pointer.
const UNKNOWN_SIZE: Rect = Rect::of_size(1, 1);

/// The pointer on an output that has cursor sessions.
#[derive(Debug)]
pub(super) struct Pointer {
    /// The pointer in the latest frame; `None` while it is not on the output.
    pub(super) shown: Option<ShownPointer>,
    /// The number of changes of the image so far.
    pub(super) changes: u64,
    /// The size of the latest image. Sessions keep it while the pointer is not on the output.
    size: Rect,
}

impl Default for Pointer {
    fn default() -> Self {
        Self {
            shown: None,
            changes: 0,
            size: UNKNOWN_SIZE,
        }
    }
}

impl Pointer {
    /// Sets the pointer of a frame. Returns whether the size of its image has changed.
    fn update(&mut self, shown: Option<ShownPointer>) -> bool {
        let image = |shown: &ShownPointer| (shown.pixels, shown.area.width, shown.area.height);
        let before = std::mem::replace(&mut self.shown, shown);
        // An image that returns to the output may be another one than before.
        if before.as_ref().map(image) != shown.as_ref().map(image) {
            self.changes = self.changes.saturating_add(1);
        }
        let size = shown.map_or(self.size, |shown| {
            Rect::of_size(shown.area.width.max(1), shown.area.height.max(1))
        });
        std::mem::replace(&mut self.size, size) != size
    }
}

/// The pointer on an output in the latest frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ShownPointer {
    pixels: PixelsId,
    /// The rectangle of the image in pixels of the output.
    pub(super) area: Rect,
    hotspot: (i32, i32),
}

impl ShownPointer {
    /// Returns the width and height of the image in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        (
            self.area.width.unsigned_abs(),
            self.area.height.unsigned_abs(),
        )
    }
}

impl CursorSession {
    /// Sends the events for the change from the last sent state to `shown`.
    fn update(&mut self, shown: Option<ShownPointer>) {
        let next = shown.map(|shown| {
            let (x, y) = shown.hotspot;
            let corner = shown.area;
            let position = (corner.x.saturating_add(x), corner.y.saturating_add(y));
            [position, shown.hotspot]
        });
        let before = std::mem::replace(&mut self.sent, next);
        if before == next {
            return;
        }
        if let Some(client) = self.object.client() {
            expect_events(&client);
        }
        let Some([position, hotspot]) = next else {
            self.object.leave();
            return;
        };
        if before.is_none() {
            self.object.enter();
        }
        if before.is_none_or(|[_, sent]| sent != hotspot) {
            self.object.hotspot(hotspot.0, hotspot.1);
        }
        if before.is_none_or(|[sent, _]| sent != position) {
            self.object.position(position.0, position.1);
        }
    }
}

impl State {
    /// Adds a cursor session. Its first events are sent with the next frame.
    pub(super) fn add_cursor_session(
        &mut self,
        object: ExtImageCopyCaptureCursorSessionV1,
        output: Option<OutputId>,
    ) {
        let Some(screen) = output.and_then(|output| self.outputs.get_mut(output)) else {
            return;
        };
        screen.schedule_redraw();
        let session = CursorSession {
            object,
            output: screen.id(),
            sent: None,
        };
        let sessions = &mut self.captures.cursor_sessions;
        sessions.insert(session.object.id(), session);
    }

    /// Updates the cursor sessions of an output, before the captures of a frame are drawn.
    pub(super) fn update_pointer(&mut self, id: OutputId, scene: &Scene) {
        let sessions = self.captures.cursor_sessions.values_mut();
        let mut sessions = sessions.filter(|session| session.output == id).peekable();
        if sessions.peek().is_none() {
            if let Some(pointer) = self.captures.pointers.get_mut(&id) {
                pointer.shown = None;
            }
            return;
        }
        let output = self.outputs.get(id).map(|screen| screen.mode().rect());
        let shown = scene.cursor.as_ref().map(|cursor| ShownPointer {
            pixels: cursor.pixels_id(),
            area: cursor.view.destination,
            hotspot: cursor.hotspot,
        });
        // A client chooses the size of its pointer image. Drawing the image must not take longer than drawing the output.
        let shown =
            shown.filter(|shown| output.is_some_and(|output| shown.area.area() <= output.area()));
        for session in sessions {
            session.update(shown);
        }
        let pointer = self.captures.pointers.entry(id).or_default();
        if pointer.update(shown) {
            self.update_sessions();
        }
    }

    /// Sends `leave` to the cursor sessions of outputs that were removed.
    pub(super) fn check_pointers(&mut self) {
        for session in self.captures.cursor_sessions.values_mut() {
            let screen = self.outputs.get(session.output);
            if screen.is_none_or(|screen| !screen.is_connected()) {
                session.update(None);
            }
        }
    }

    /// Returns what a session of the pointer on an output captures; `None` if the output has no display.
    pub(super) fn pointer_source(&self, output: Option<OutputId>) -> Option<Source> {
        let screen = self.outputs.get(output?)?;
        let pointer = self.captures.pointers.get(&screen.id());
        let area = pointer.map_or(UNKNOWN_SIZE, |pointer| pointer.size);
        let is_connected = screen.is_connected();
        is_connected.then(|| Source::new(screen, area, CapturedContent::Pointer))
    }
}

impl Dispatch<ExtImageCopyCaptureCursorSessionV1, CursorSessionData> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        cursor: &ExtImageCopyCaptureCursorSessionV1,
        request: ext_image_copy_capture_cursor_session_v1::Request,
        data: &CursorSessionData,
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        let ext_image_copy_capture_cursor_session_v1::Request::GetCaptureSession { session } =
            request
        else {
            return;
        };
        let session_data = SessionData::default();
        let session = data_init.init(session, session_data.clone());
        // Nothing panics while the lock is held, so the value behind a poisoned lock is complete.
        let has_session = data.has_session.lock();
        let mut has_session = has_session.unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *has_session, true) {
            let message = "the cursor session already has a capture session";
            cursor.post_error(Error::DuplicateSession, message);
            return;
        }
        let source = state.pointer_source(data.output);
        state.start_session(session, &session_data, source);
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        cursor: &ExtImageCopyCaptureCursorSessionV1,
        _data: &CursorSessionData,
    ) {
        let id: ObjectId = cursor.id();
        state.captures.cursor_sessions.remove(&id);
    }
}
