//! `zwlr_screencopy_manager_v1`, version 3, which grim and wf-recorder use. Smithay 0.7 does not implement this protocol.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use smithay::reexports::wayland_protocols_wlr::screencopy::v1::server::{
    zwlr_screencopy_frame_v1::{self, Error, Flags, ZwlrScreencopyFrameV1},
    zwlr_screencopy_manager_v1::{self, ZwlrScreencopyManagerV1},
};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::reexports::wayland_server::protocol::wl_shm;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};

use super::buffer::{CaptureBuffer, PIXEL_BYTES};
use super::{CaptureFrame, CapturedContent, FORMAT, Sequence, Source};
use crate::privilege::is_privileged;
use crate::region::{Rect, Region};
use crate::state::State;

/// The version of the protocol that is implemented.
const VERSION: u32 = 3;

/// Creates the global.
pub(super) fn create_global(display: &DisplayHandle) {
    display.create_global::<State, ZwlrScreencopyManagerV1, ()>(VERSION, ());
}

/// The user data of a frame object.
#[derive(Debug)]
pub struct FrameData {
    /// The manager with which the frame was created, within whose captures damage is counted.
    manager: ObjectId,
    /// What the frame captures; `None` if nothing can be captured, so that `failed` was sent.
    source: Option<Source>,
    /// Whether the client has sent a copy request.
    is_used: AtomicBool,
}

/// A frame object whose client requested a copy.
#[derive(Clone, Debug)]
pub(super) struct ScreencopyFrame {
    object: ZwlrScreencopyFrameV1,
    with_damage: bool,
}

impl ScreencopyFrame {
    /// Returns the id of the frame object.
    pub(super) fn id(&self) -> ObjectId {
        self.object.id()
    }

    /// Sends the events of a successful capture. `damage` is in pixels of the buffer, and `shown` is the time at which the
    /// content was presented.
    pub(super) fn ready(&self, damage: &Region, shown: Duration) {
        // The first row of the buffer is the upper row of the output.
        self.object.flags(Flags::empty());
        if self.with_damage {
            for rect in damage.rects() {
                let [x, y, width, height] =
                    [rect.x, rect.y, rect.width, rect.height].map(i32::unsigned_abs);
                self.object.damage(x, y, width, height);
            }
        }
        let (high, low) = super::halves(shown.as_secs());
        self.object.ready(high, low, shown.subsec_nanos());
    }

    /// Sends `failed`.
    pub(super) fn failed(&self) {
        self.object.failed();
    }
}

impl State {
    /// Returns what a frame of an output captures. `region` is in logical coordinates relative to the output, and the whole
    /// output is captured if it is `None`. Returns `None` if the output is gone or shows no pixel of the region.
    fn screencopy_source(
        &self,
        output: &WlOutput,
        region: Option<Rect>,
        with_cursor: bool,
    ) -> Option<Source> {
        let id = self.find_output(output)?;
        let screen = self.outputs.get(id)?;
        let mode = screen.mode().rect();
        let area = match region {
            None => mode,
            Some(region) => {
                let view = screen.view();
                let whole = Rect::of_size(view.logical.width, view.logical.height);
                let shown = region.intersection(whole)?;
                view.rect(shown.moved(view.logical.x, view.logical.y))
                    .intersection(mode)?
            }
        };
        let source = Source::new(screen, area, CapturedContent::of_output(with_cursor));
        self.check_source(&source).ok().map(|()| source)
    }

    /// Handles a copy request of a frame.
    fn copy_frame(
        &mut self,
        client: &Client,
        frame: &ZwlrScreencopyFrameV1,
        data: &FrameData,
        buffer: &WlBuffer,
        with_damage: bool,
    ) {
        if data.is_used.swap(true, Ordering::Relaxed) {
            let message = "a buffer was already copied to with this object";
            frame.post_error(Error::AlreadyUsed, message);
            return;
        }
        // `failed` was sent when the frame was created.
        let Some(source) = data.source else {
            return;
        };
        let size = source.size();
        let buffer = CaptureBuffer::new(&self.dmabuf, client, buffer)
            .filter(|buffer| buffer.matches(FORMAT, size));
        let Some(buffer) = buffer else {
            let message = format!(
                "the buffer is not one of {} with {}x{} pixels and rows without padding",
                FORMAT.name(),
                size.0,
                size.1
            );
            frame.post_error(Error::InvalidBuffer, message);
            return;
        };
        let sequence = Sequence {
            owner: data.manager.clone(),
            output: source.output,
            content: source.content,
        };
        let frame = ScreencopyFrame {
            object: frame.clone(),
            with_damage,
        };
        let frame = (CaptureFrame::Screencopy(frame), with_damage);
        self.add_capture(client, source, sequence, buffer, frame);
    }
}

impl GlobalDispatch<ZwlrScreencopyManagerV1, ()> for State {
    fn bind(
        _state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ZwlrScreencopyManagerV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        data_init.init(resource, ());
    }

    fn can_view(client: Client, _data: &()) -> bool {
        is_privileged(&client)
    }
}

impl Dispatch<ZwlrScreencopyManagerV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        manager: &ZwlrScreencopyManagerV1,
        request: zwlr_screencopy_manager_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        let (frame, overlay_cursor, output, region) = match request {
            zwlr_screencopy_manager_v1::Request::CaptureOutput {
                frame,
                overlay_cursor,
                output,
            } => (frame, overlay_cursor, output, None),
            zwlr_screencopy_manager_v1::Request::CaptureOutputRegion {
                frame,
                overlay_cursor,
                output,
                x,
                y,
                width,
                height,
            } => {
                let region = Rect::new(x, y, width, height);
                (frame, overlay_cursor, output, Some(region))
            }
            _ => return,
        };
        let source = state.screencopy_source(&output, region, overlay_cursor != 0);
        let data = FrameData {
            manager: manager.id(),
            source,
            is_used: AtomicBool::new(false),
        };
        let frame = data_init.init(frame, data);
        let Some(source) = source else {
            frame.failed();
            return;
        };
        let (width, height) = source.size();
        let stride = width.saturating_mul(PIXEL_BYTES);
        frame.buffer(wl_shm::Format::Xrgb8888, width, height, stride);
        if frame.version() >= zwlr_screencopy_frame_v1::EVT_LINUX_DMABUF_SINCE {
            frame.linux_dmabuf(FORMAT.fourcc(), width, height);
            frame.buffer_done();
        }
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        manager: &ZwlrScreencopyManagerV1,
        _data: &(),
    ) {
        state.captures.forget_owner(&manager.id());
    }
}

impl Dispatch<ZwlrScreencopyFrameV1, FrameData> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        frame: &ZwlrScreencopyFrameV1,
        request: zwlr_screencopy_frame_v1::Request,
        data: &FrameData,
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
        match request {
            zwlr_screencopy_frame_v1::Request::Copy { buffer } => {
                state.copy_frame(client, frame, data, &buffer, false);
            }
            zwlr_screencopy_frame_v1::Request::CopyWithDamage { buffer } => {
                state.copy_frame(client, frame, data, &buffer, true);
            }
            _ => {}
        }
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        frame: &ZwlrScreencopyFrameV1,
        _data: &FrameData,
    ) {
        state.captures.remove(&frame.id());
    }
}
