//! `linux-dmabuf`, version 6.
//!
//! Smithay 0.7 implements this protocol incorrectly, so this module replaces its implementation. Smithay numbers planes by the
//! order of requests and ignores `plane_idx`, so a client that adds plane 1 first shows its chroma as luma. It accepts gaps
//! between planes, does not check bounds against the format's subsampling, checks a format without its modifier, and continues
//! after an error about width or height. Its feedback cannot name a device that is not a DRM node.

mod buffer;
mod feedback;
mod params;
mod surface_feedback;

use std::collections::HashMap;
use std::rc::Rc;

use covalent_protocols::linux_dmabuf::server::{
    zwp_linux_dmabuf_feedback_v1::{self, ZwpLinuxDmabufFeedbackV1},
    zwp_linux_dmabuf_v1::{self, ZwpLinuxDmabufV1},
};
use covalent_protocols::{Device, Feedback, FeedbackError, SealedTable, TableError};
use smithay::reexports::wayland_server::backend::{ClientId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};

use crate::state::State;

pub use buffer::{ClientBuffer, FramebufferRejection};
pub use feedback::{SupportedFormats, build_feedback};
pub use params::ParamsData;
pub use surface_feedback::PERIOD as FEEDBACK_PERIOD;
use surface_feedback::SurfaceFeedbacks;

/// The version of the protocol that is implemented.
const VERSION: u32 = 6;

/// The state of the `zwp_linux_dmabuf_v1` global: the feedback for clients and the buffers that clients imported.
#[derive(Debug)]
pub struct Dmabuf {
    formats: SupportedFormats,
    /// The default feedback, with the scanout tranche of the primary plane.
    feedback: Feedback,
    /// The default feedback without the scanout tranche of the primary plane.
    without_scanout: Feedback,
    sealed: SealedTable,
    surfaces: SurfaceFeedbacks,
    buffers: HashMap<ObjectId, Rc<ClientBuffer>>,
}

/// The reason why the global cannot be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DmabufError {
    /// The dma-buf feedback is not valid.
    #[error(transparent)]
    Feedback(#[from] FeedbackError),
    /// The format table cannot be sealed.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl Dmabuf {
    /// Creates the global, which advertises `formats`.
    ///
    /// # Errors
    ///
    /// When the feedback cannot be built, or its format table cannot be sealed.
    pub fn new(display: &DisplayHandle, formats: SupportedFormats) -> Result<Self, DmabufError> {
        let feedback = build_feedback(&formats)?;
        let without_scanout = build_feedback(&SupportedFormats {
            scanout: Vec::new(),
            ..formats.clone()
        })?;
        let sealed = feedback.table().seal()?;
        display.create_global::<State, ZwpLinuxDmabufV1, ()>(VERSION, ());
        Ok(Self {
            formats,
            feedback,
            without_scanout,
            sealed,
            surfaces: SurfaceFeedbacks::default(),
            buffers: HashMap::new(),
        })
    }

    /// Returns the default feedback.
    pub fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    /// Returns whether a device number belongs to the main device, from which the renderer samples buffers.
    fn samples_from(&self, device: Device) -> bool {
        let main = self.feedback.main_device();
        device == main || nodes_of_one_device(device, main)
    }

    /// Returns the dma-buf of a `wl_buffer` that this module created.
    pub fn find(&self, buffer: &WlBuffer) -> Option<&Rc<ClientBuffer>> {
        self.buffers.get(&buffer.id())
    }

    /// Returns the number of buffers that clients have created and not destroyed.
    pub fn buffers(&self) -> usize {
        self.buffers.len()
    }

    /// Returns the number of planes of a buffer that clients may create; `None` if the format or modifier is not advertised.
    pub(crate) fn planes(&self, fourcc: u32, modifier: u64) -> Option<usize> {
        self.formats.planes(fourcc, modifier)
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

/// Returns whether two device numbers are nodes of one device, for example its primary and its render node.
fn nodes_of_one_device(one: Device, other: Device) -> bool {
    let path = |device: Device| {
        let (major, minor) = (rustix::fs::major(device.0), rustix::fs::minor(device.0));
        std::fs::canonicalize(format!("/sys/dev/char/{major}:{minor}/device")).ok()
    };
    match (path(one), path(other)) {
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}

/// Splits a modifier into its high and its low 32 bits, as the protocol sends it.
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
            // Any surface may become fullscreen, so every surface receives the default feedback first.
            zwp_linux_dmabuf_v1::Request::GetSurfaceFeedback { id, surface } => {
                let object = data_init.init(id, ());
                state.dmabuf.feedback.send(&object, &state.dmabuf.sealed);
                state.dmabuf.surfaces.add(object, surface);
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
        state.dmabuf.surfaces.remove(feedback);
    }
}
