//! `ext_image_capture_source_v1` and `ext_image_copy_capture_v1`, version 1, for outputs. Smithay 0.7 implements neither.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use smithay::reexports::wayland_protocols::ext::image_capture_source::v1::server::{
    ext_image_capture_source_v1::{self, ExtImageCaptureSourceV1},
    ext_output_image_capture_source_manager_v1::{self, ExtOutputImageCaptureSourceManagerV1},
};
use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::{
    ext_image_copy_capture_frame_v1::{
        self, Error as FrameError, ExtImageCopyCaptureFrameV1, FailureReason,
    },
    ext_image_copy_capture_manager_v1::{
        self, Error as ManagerError, ExtImageCopyCaptureManagerV1, Options,
    },
    ext_image_copy_capture_session_v1::{
        self, Error as SessionError, ExtImageCopyCaptureSessionV1,
    },
};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_output::Transform;
use smithay::reexports::wayland_server::protocol::wl_shm;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource, WEnum, Weak,
};

use super::buffer::CaptureBuffer;
use super::cursor_session::CursorSessionData;
use super::{CaptureFrame, CapturedContent, Sequence, Source};
use crate::connection::expect_events;
use crate::output_view::OutputId;
use crate::privilege::is_privileged;
use crate::region::Region;
use crate::state::State;

/// The version of the protocols that is implemented.
const VERSION: u32 = 1;

/// Creates the globals.
pub(super) fn create_globals(display: &DisplayHandle) {
    display.create_global::<State, ExtOutputImageCaptureSourceManagerV1, ()>(VERSION, ());
    display.create_global::<State, ExtImageCopyCaptureManagerV1, ()>(VERSION, ());
}

/// The user data of a capture source: the output; `None` if the output was gone when the source was created.
#[derive(Clone, Copy, Debug)]
pub struct SourceData(Option<OutputId>);

/// What a session captures. The session and its frames share it.
#[derive(Clone, Debug, Default)]
pub struct SessionData(Arc<Mutex<SessionState>>);

#[derive(Debug, Default)]
struct SessionState {
    /// What the next frame captures; `None` after the session was stopped.
    source: Option<Source>,
    /// The frame object that the client has not destroyed.
    frame: Option<ObjectId>,
}

impl SessionData {
    fn lock(&self) -> MutexGuard<'_, SessionState> {
        // Nothing panics while the lock is held, so the state behind a poisoned lock is complete.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session whose constraints change with the mode of its output.
#[derive(Debug)]
pub(super) struct Session {
    object: ExtImageCopyCaptureSessionV1,
    data: SessionData,
}

/// The user data of a frame object.
#[derive(Debug)]
pub struct FrameData {
    session: SessionData,
    /// The session object, within whose captures damage is counted.
    owner: ObjectId,
    state: Mutex<FrameState>,
}

#[derive(Debug, Default)]
struct FrameState {
    buffer: Option<Weak<WlBuffer>>,
    is_captured: bool,
}

/// A frame object whose client requested the capture.
#[derive(Debug)]
pub(super) struct ImageCopyFrame(ExtImageCopyCaptureFrameV1);

impl ImageCopyFrame {
    /// Returns the id of the frame object.
    pub(super) fn id(&self) -> ObjectId {
        self.0.id()
    }

    /// Sends the events of a successful capture.
    pub(super) fn ready(&self, transform: Transform, damage: &Region, shown: Duration) {
        self.0.transform(transform);
        for rect in damage.rects() {
            self.0.damage(rect.x, rect.y, rect.width, rect.height);
        }
        let (high, low) = super::halves(shown.as_secs());
        self.0.presentation_time(high, low, shown.subsec_nanos());
        self.0.ready();
    }

    /// Sends `failed`.
    pub(super) fn failed(&self, reason: FailureReason) {
        self.0.failed(reason);
    }
}

impl State {
    /// Returns what a session of an output captures; `None` if the output has no display.
    fn session_source(&self, output: Option<OutputId>, content: CapturedContent) -> Option<Source> {
        if content == CapturedContent::Pointer {
            return self.pointer_source(output);
        }
        let screen = self.outputs.get(output?)?;
        let whole = screen.mode().rect();
        let is_connected = screen.is_connected();
        is_connected.then(|| Source::new(screen, whole, content))
    }

    /// Sends the size, formats and modifiers of the buffers that a session accepts.
    fn send_constraints(&self, session: &ExtImageCopyCaptureSessionV1, source: &Source) {
        let (width, height) = source.size();
        session.buffer_size(width, height);
        let format = source.format();
        session.shm_format(if format.has_alpha() {
            wl_shm::Format::Argb8888
        } else {
            wl_shm::Format::Xrgb8888
        });
        let modifiers = self.capture_modifiers(source);
        let device = self.dmabuf.feedback().main_device();
        if !modifiers.is_empty() && device.0 != 0 {
            session.dmabuf_device(device.to_bytes().to_vec());
            let modifiers = modifiers.into_iter().flat_map(u64::to_ne_bytes).collect();
            session.dmabuf_format(format.fourcc(), modifiers);
        }
        session.done();
    }

    /// Returns the modifiers of the dma-bufs into which a source can be drawn. The CPU writes only linear ones.
    fn capture_modifiers(&self, source: &Source) -> Vec<u64> {
        const LINEAR: u64 = 0;
        let format = source.format();
        let screen = self.outputs.get(source.output);
        let mut modifiers = screen.map_or_else(Vec::new, |screen| {
            screen.renderer().borrow().rendered_modifiers(format)
        });
        if !modifiers.contains(&LINEAR) {
            modifiers.push(LINEAR);
        }
        // The client has to be able to create the buffer.
        modifiers.retain(|modifier| self.dmabuf.planes(format.fourcc(), *modifier).is_some());
        modifiers
    }

    /// Starts a session: sends its constraints, or stops it if there is nothing to capture.
    pub(super) fn start_session(
        &mut self,
        object: ExtImageCopyCaptureSessionV1,
        data: &SessionData,
        source: Option<Source>,
    ) {
        data.lock().source = source;
        match source {
            Some(source) => {
                self.send_constraints(&object, &source);
                let data = data.clone();
                let session = Session { object, data };
                self.captures.sessions.insert(session.object.id(), session);
            }
            None => object.stopped(),
        }
    }

    /// Stops the sessions of outputs that were removed, and sends new constraints to the sessions whose size has changed.
    pub(super) fn update_sessions(&mut self) {
        let mut sessions = std::mem::take(&mut self.captures.sessions);
        sessions.retain(|_, session| {
            let Some(before) = session.data.lock().source else {
                return false;
            };
            let source = self.session_source(Some(before.output), before.content);
            session.data.lock().source = source;
            let is_changed = source.is_none_or(|source| source.size() != before.size());
            if let Some(client) = session.object.client().filter(|_| is_changed) {
                expect_events(&client);
            }
            match source {
                None => session.object.stopped(),
                Some(source) if is_changed => {
                    self.send_constraints(&session.object, &source);
                }
                Some(_) => {}
            }
            source.is_some()
        });
        self.captures.sessions = sessions;
    }

    /// Handles the capture request of a frame.
    fn capture_frame(
        &mut self,
        client: &Client,
        object: &ExtImageCopyCaptureFrameV1,
        data: &FrameData,
        buffer: &Weak<WlBuffer>,
    ) {
        let Some(source) = data.session.lock().source else {
            object.failed(FailureReason::Stopped);
            return;
        };
        let buffer = buffer.upgrade().ok();
        let buffer = buffer
            .and_then(|buffer| CaptureBuffer::new(&self.dmabuf, client, &buffer))
            .filter(|buffer| buffer.matches(source.format(), source.size()));
        let Some(buffer) = buffer else {
            object.failed(FailureReason::BufferConstraints);
            return;
        };
        let sequence = Sequence {
            owner: data.owner.clone(),
            output: source.output,
            content: source.content,
        };
        // The first capture of a session has damage everywhere, so it does not wait.
        let frame = CaptureFrame::ImageCopy(ImageCopyFrame(object.clone()));
        self.add_capture(client, source, sequence, buffer, (frame, true));
    }
}

impl GlobalDispatch<ExtOutputImageCaptureSourceManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ExtOutputImageCaptureSourceManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }

    fn can_view(client: Client, _data: &()) -> bool {
        is_privileged(&client)
    }
}

impl Dispatch<ExtOutputImageCaptureSourceManagerV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        _manager: &ExtOutputImageCaptureSourceManagerV1,
        request: ext_output_image_capture_source_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        if let ext_output_image_capture_source_manager_v1::Request::CreateSource {
            source,
            output,
        } = request
        {
            data_init.init(source, SourceData(state.find_output(&output)));
        }
    }
}

impl Dispatch<ExtImageCaptureSourceV1, SourceData> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _source: &ExtImageCaptureSourceV1,
        _request: ext_image_capture_source_v1::Request,
        _data: &SourceData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
    }
}

impl GlobalDispatch<ExtImageCopyCaptureManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ExtImageCopyCaptureManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }

    fn can_view(client: Client, _data: &()) -> bool {
        is_privileged(&client)
    }
}

impl Dispatch<ExtImageCopyCaptureManagerV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        manager: &ExtImageCopyCaptureManagerV1,
        request: ext_image_copy_capture_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        match request {
            ext_image_copy_capture_manager_v1::Request::CreateSession {
                session,
                source,
                options,
            } => {
                let data = SessionData::default();
                let session = data_init.init(session, data.clone());
                let WEnum::Value(options) = options else {
                    let message = format!("the options {options:?} are not valid");
                    manager.post_error(ManagerError::InvalidOption, message);
                    return;
                };
                let output = source.data::<SourceData>().and_then(|source| source.0);
                let content = CapturedContent::of_output(options.contains(Options::PaintCursors));
                let source = state.session_source(output, content);
                state.start_session(session, &data, source);
            }
            ext_image_copy_capture_manager_v1::Request::CreatePointerCursorSession {
                session,
                source,
                ..
            } => {
                let output = source.data::<SourceData>().and_then(|source| source.0);
                let session = data_init.init(session, CursorSessionData::new(output));
                state.add_cursor_session(session, output);
            }
            _ => {}
        }
    }
}

impl Dispatch<ExtImageCopyCaptureSessionV1, SessionData> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        session: &ExtImageCopyCaptureSessionV1,
        request: ext_image_copy_capture_session_v1::Request,
        data: &SessionData,
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        let ext_image_copy_capture_session_v1::Request::CreateFrame { frame } = request else {
            return;
        };
        let frame = data_init.init(
            frame,
            FrameData {
                session: data.clone(),
                owner: session.id(),
                state: Mutex::default(),
            },
        );
        let mut state = data.lock();
        if state.frame.is_some() {
            let message = "the previous frame of the session is not destroyed";
            session.post_error(SessionError::DuplicateFrame, message);
            return;
        }
        state.frame = Some(frame.id());
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        session: &ExtImageCopyCaptureSessionV1,
        _data: &SessionData,
    ) {
        state.captures.sessions.remove(&session.id());
        state.captures.forget_owner(&session.id());
    }
}

impl Dispatch<ExtImageCopyCaptureFrameV1, FrameData> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        frame: &ExtImageCopyCaptureFrameV1,
        request: ext_image_copy_capture_frame_v1::Request,
        data: &FrameData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        use ext_image_copy_capture_frame_v1::Request;
        if matches!(request, Request::Destroy) {
            return;
        }
        // Nothing panics while the lock is held, so the state behind a poisoned lock is complete.
        let mut own = data.state.lock().unwrap_or_else(PoisonError::into_inner);
        if own.is_captured {
            let message = "the capture of this frame was already requested";
            frame.post_error(FrameError::AlreadyCaptured, message);
            return;
        }
        match request {
            Request::AttachBuffer { buffer } => own.buffer = Some(buffer.downgrade()),
            // The whole buffer is written, so the damage that the client states is not needed.
            Request::DamageBuffer {
                x,
                y,
                width,
                height,
            } if x < 0 || y < 0 || width <= 0 || height <= 0 => {
                let message = format!("{width}x{height} at {x},{y} is not a valid damage");
                frame.post_error(FrameError::InvalidBufferDamage, message);
            }
            Request::Capture => match own.buffer.take() {
                Some(buffer) => {
                    own.is_captured = true;
                    state.capture_frame(client, frame, data, &buffer);
                }
                None => frame.post_error(FrameError::NoBuffer, "no buffer is attached"),
            },
            _ => {}
        }
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        frame: &ExtImageCopyCaptureFrameV1,
        data: &FrameData,
    ) {
        data.session.lock().frame.take_if(|id| *id == frame.id());
        state.captures.remove(&frame.id());
    }
}
