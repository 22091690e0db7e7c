//! `linux-dmabuf`, version 5.
//!
//! Smithay 0.7 has a module for it, which is not used because it makes the protocol wrong: it numbers planes by the order of
//! requests and ignores `plane_idx`, so that a client that adds plane 1 first shows its chroma as luma; gaps in the planes
//! pass; bounds are not checked against the format's subsampling; a format is checked without its modifier; and after an
//! error of width or height it goes on. Its feedback cannot name a device that is no DRM node either.

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

pub use buffer::{ClientBuffer, FramebufferRefusal};
pub use feedback::{Offer, truthful};
pub use params::ParamsData;

/// The version of the protocol that is spoken.
const VERSION: u32 = 5;

/// What clients may send, and what they sent.
#[derive(Debug)]
pub struct Dmabuf {
    feedback: Feedback,
    /// The same without the display.
    composed: Feedback,
    sealed: SealedTable,
    /// By the object that tells: a client may have very many, and all of them go with it.
    surfaces: HashMap<ObjectId, Told>,
    buffers: HashMap<ObjectId, Rc<ClientBuffer>>,
}

/// What the client of a surface was told.
#[derive(Debug)]
struct Told {
    object: ZwpLinuxDmabufFeedbackV1,
    surface: WlSurface,
    of_display: bool,
}

impl Dmabuf {
    /// Announces the global to clients, which are told `feedback`; `composed` is the same without the display.
    ///
    /// # Errors
    ///
    /// When the format table cannot be sealed.
    pub fn new(
        display: &DisplayHandle,
        feedback: Feedback,
        composed: Feedback,
    ) -> Result<Self, TableError> {
        let sealed = feedback.table().seal()?;
        display.create_global::<State, ZwpLinuxDmabufV1, ()>(VERSION, ());
        Ok(Self {
            feedback,
            composed,
            sealed,
            surfaces: HashMap::new(),
            buffers: HashMap::new(),
        })
    }

    /// Returns what clients are told.
    pub fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// Tells the client of a surface whether its buffers can be put on the display, where that is another than it was told.
    ///
    /// Clients allocate anew then. So a window that leaves the whole screen is told, and one that fills it again; one that never
    /// did keeps what it was told first, since it may yet.
    pub fn tell(&mut self, surface: &WlSurface, of_display: bool) {
        self.surfaces
            .retain(|_, told| told.object.is_alive() && told.surface.is_alive());
        let others = self
            .surfaces
            .values_mut()
            .filter(|told| told.surface == *surface && told.of_display != of_display);
        for told in others {
            told.of_display = of_display;
            let feedback = if of_display {
                &self.feedback
            } else {
                &self.composed
            };
            // The same parameters are not to be sent twice: without a display there are no others.
            if self.feedback != self.composed {
                feedback.send(&told.object, &self.sealed);
            }
        }
    }

    /// Finds the memory of a buffer that was made here.
    pub fn find(&self, buffer: &WlBuffer) -> Option<&Rc<ClientBuffer>> {
        self.buffers.get(&buffer.id())
    }

    /// Counts the buffers that clients hold.
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
        // Clients of old know formats only, without who uses them how.
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
            // Every surface can be on the one output, so all are told the same at first.
            zwp_linux_dmabuf_v1::Request::GetSurfaceFeedback { id, surface } => {
                let object = data_init.init(id, ());
                state.dmabuf.feedback.send(&object, &state.dmabuf.sealed);
                let told = Told {
                    object: object.clone(),
                    surface,
                    of_display: true,
                };
                state.dmabuf.surfaces.insert(object.id(), told);
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
