//! `linux-dmabuf`, version 5.
//!
//! Smithay 0.7 implements this protocol, but not correctly, so this module replaces it. Smithay numbers planes by the order of
//! requests and ignores `plane_idx`, so a client that adds plane 1 first shows its chroma as luma. It accepts gaps between
//! planes, does not check bounds against the format's subsampling, checks a format without its modifier, and continues
//! after an error about width or height. Its feedback cannot name a device that is not a DRM node.

mod buffer;
mod feedback;
mod params;

use std::collections::HashMap;
use std::rc::Rc;

use covalent_protocols::{Feedback, FormatEntry, SealedTable, TableError};
use smithay::reexports::wayland_protocols::wp::linux_dmabuf::zv1::server::{
    zwp_linux_dmabuf_feedback_v1::{self, ZwpLinuxDmabufFeedbackV1},
    zwp_linux_dmabuf_v1::{self, ZwpLinuxDmabufV1},
};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};

use crate::state::State;

pub use buffer::{ClientBuffer, FramebufferRejection};
pub use feedback::{SupportedFormats, build_feedback};
pub use params::ParamsData;

/// The version of the protocol that is implemented.
const VERSION: u32 = 5;

/// The state of the `zwp_linux_dmabuf_v1` global: the feedback for clients and the buffers that clients imported.
#[derive(Debug)]
pub struct Dmabuf {
    feedback: Feedback,
    /// The same feedback without the scanout tranche.
    without_scanout: Feedback,
    sealed: SealedTable,
    /// The surface feedback objects by their id. A client may create very many, and all are removed when it disconnects, so
    /// the removal must not depend on their number.
    surfaces: HashMap<ObjectId, SurfaceFeedback>,
    buffers: HashMap<ObjectId, Rc<ClientBuffer>>,
}

/// A surface feedback object and what was sent by it last.
#[derive(Debug)]
struct SurfaceFeedback {
    object: ZwpLinuxDmabufFeedbackV1,
    surface: WlSurface,
    has_scanout: bool,
}

impl Dmabuf {
    /// Creates the global, which sends `feedback`; `without_scanout` is the same feedback without the scanout tranche.
    ///
    /// # Errors
    ///
    /// When the format table cannot be sealed.
    pub fn new(
        display: &DisplayHandle,
        feedback: Feedback,
        without_scanout: Feedback,
    ) -> Result<Self, TableError> {
        let sealed = feedback.table().seal()?;
        display.create_global::<State, ZwpLinuxDmabufV1, ()>(VERSION, ());
        Ok(Self {
            feedback,
            without_scanout,
            sealed,
            surfaces: HashMap::new(),
            buffers: HashMap::new(),
        })
    }

    /// Returns the default feedback.
    pub fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// Sends the feedback of a surface with or without the scanout tranche, if it differs from the feedback that was sent last.
    ///
    /// A client reallocates its buffers when it receives feedback. When a window leaves fullscreen, it receives feedback without
    /// the scanout tranche; when it returns to fullscreen, it receives the scanout tranche again. A window that was never
    /// fullscreen keeps the feedback that it received first, which has the scanout tranche, since it may become fullscreen later.
    pub fn set_surface_scanout(&mut self, surface: &WlSurface, has_scanout: bool) {
        self.surfaces
            .retain(|_, entry| entry.object.is_alive() && entry.surface.is_alive());
        let changed = self
            .surfaces
            .values_mut()
            .filter(|entry| entry.surface == *surface && entry.has_scanout != has_scanout);
        for entry in changed {
            entry.has_scanout = has_scanout;
            let feedback = if has_scanout {
                &self.feedback
            } else {
                &self.without_scanout
            };
            // The protocol forbids sending the same parameters twice, and a virtual output has no scanout tranche in either case.
            if self.feedback != self.without_scanout {
                feedback.send(&entry.object, &self.sealed);
            }
        }
    }

    /// Returns the dma-buf of a `wl_buffer` that this module created.
    pub fn find(&self, buffer: &WlBuffer) -> Option<&Rc<ClientBuffer>> {
        self.buffers.get(&buffer.id())
    }

    /// Returns the number of buffers that clients hold.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    fn advertises(&self, fourcc: u32, modifier: u64) -> bool {
        self.feedback.advertises(FormatEntry { fourcc, modifier })
    }
}

impl GlobalDispatch<ZwpLinuxDmabufV1, ()> for State {
    fn bind(
        state: &mut Self,
        _display: &DisplayHandle,
        _client: &Client,
        resource: New<ZwpLinuxDmabufV1>,
        _data: &(),
        data_init: &mut DataInit<'_, Self>,
    ) {
        let global = data_init.init(resource, ());
        if global.version() >= zwp_linux_dmabuf_v1::REQ_GET_DEFAULT_FEEDBACK_SINCE {
            return;
        }
        // Clients that bind a version below 4 know only formats and modifiers, and no tranches.
        for entry in state.dmabuf.feedback.table().entries() {
            if global.version() >= zwp_linux_dmabuf_v1::EVT_MODIFIER_SINCE {
                let [high, low] = halves(entry.modifier);
                global.modifier(entry.fourcc, high, low);
            } else {
                global.format(entry.fourcc);
            }
        }
    }
}

/// Splits a modifier as the protocol carries it: the high half first.
fn halves(modifier: u64) -> [u32; 2] {
    let bytes = modifier.to_be_bytes();
    [
        u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]),
        u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    ]
}

impl Dispatch<ZwpLinuxDmabufV1, ()> for State {
    fn request(
        state: &mut Self,
        _client: &Client,
        _global: &ZwpLinuxDmabufV1,
        request: zwp_linux_dmabuf_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        data_init: &mut DataInit<'_, Self>,
    ) {
        match request {
            zwp_linux_dmabuf_v1::Request::CreateParams { params_id } => {
                data_init.init(params_id, ParamsData::default());
            }
            zwp_linux_dmabuf_v1::Request::GetDefaultFeedback { id } => {
                let feedback = data_init.init(id, ());
                state.dmabuf.feedback.send(&feedback, &state.dmabuf.sealed);
            }
            // Every surface can become fullscreen on the only output, so all receive the default feedback at first.
            zwp_linux_dmabuf_v1::Request::GetSurfaceFeedback { id, surface } => {
                let object = data_init.init(id, ());
                state.dmabuf.feedback.send(&object, &state.dmabuf.sealed);
                let entry = SurfaceFeedback {
                    object: object.clone(),
                    surface,
                    has_scanout: true,
                };
                state.dmabuf.surfaces.insert(object.id(), entry);
            }
            _ => {}
        }
    }
}

impl Dispatch<ZwpLinuxDmabufFeedbackV1, ()> for State {
    fn request(
        _state: &mut Self,
        _client: &Client,
        _feedback: &ZwpLinuxDmabufFeedbackV1,
        _request: zwp_linux_dmabuf_feedback_v1::Request,
        _data: &(),
        _display: &DisplayHandle,
        _data_init: &mut DataInit<'_, Self>,
    ) {
    }

    fn destroyed(
        state: &mut Self,
        _client: ClientId,
        feedback: &ZwpLinuxDmabufFeedbackV1,
        _data: &(),
    ) {
        state.dmabuf.surfaces.remove(&feedback.id());
    }
}
