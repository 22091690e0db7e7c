//! A lock surface: its size, its configure events and the rules for its commits.

use std::collections::VecDeque;

use smithay::reexports::wayland_protocols::ext::session_lock::v1::server::ext_session_lock_surface_v1::{
    Error, ExtSessionLockSurfaceV1,
};
use smithay::reexports::wayland_server::Resource as _;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::SERIAL_COUNTER;
use smithay::wayland::compositor::{BufferAssignment, SurfaceAttributes, SurfaceData, with_states};
use smithay::wayland::shm::with_buffer_contents;
use smithay::wayland::viewporter::ViewportCachedState;

use crate::dmabuf::Dmabuf;
use crate::output_view::OutputId;
use crate::state::State;
use crate::surface::{buffer_transform, logical_size};

/// The surface that an output shows while the session is locked.
#[derive(Debug)]
pub struct LockSurface {
    /// The surface with the role.
    pub(super) surface: WlSurface,
    role: ExtSessionLockSurfaceV1,
    /// The output.
    pub(super) output: OutputId,
    /// The size of the last configure event.
    configured: Option<(i32, i32)>,
    /// The serials and sizes of the configure events that the client has not acknowledged.
    unacknowledged: VecDeque<(u32, (i32, i32))>,
    /// The size that the next buffer has to have.
    acknowledged: Option<(i32, i32)>,
}

impl LockSurface {
    /// Creates the state of a new lock surface, which is not configured yet.
    pub(super) fn new(surface: WlSurface, role: ExtSessionLockSurfaceV1, output: OutputId) -> Self {
        Self {
            surface,
            role,
            output,
            configured: None,
            unacknowledged: VecDeque::new(),
            acknowledged: None,
        }
    }

    /// Configures the surface with the size of its output, unless it was configured with that size last.
    pub(super) fn configure(&mut self, size: (i32, i32)) {
        if self.configured == Some(size) {
            return;
        }
        self.configured = Some(size);
        let serial = SERIAL_COUNTER.next_serial().into();
        self.unacknowledged.push_back((serial, size));
        let side = |length: i32| u32::try_from(length).unwrap_or(0);
        self.role.configure(serial, side(size.0), side(size.1));
    }

    /// Returns the number of configure events that the client has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Handles that the client acknowledges a configure event, and with it all earlier ones; returns whether there is one with
    /// that serial.
    pub(super) fn acknowledge(&mut self, serial: u32) -> bool {
        let mut events = self.unacknowledged.iter();
        let Some(index) = events.position(|(known, _)| *known == serial) else {
            return false;
        };
        let acknowledged = self.unacknowledged.drain(..=index).next_back();
        self.acknowledged = acknowledged.map(|(_, size)| size);
        true
    }
}

/// The size that a surface gets by its pending state, or why the size cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingSize {
    /// The commit attaches no buffer.
    Unchanged,
    /// The commit removes the content.
    Removed,
    /// The commit attaches a buffer of a kind whose size is known only when it is shown.
    Unknown,
    /// The commit gives the surface this size.
    Size(i32, i32),
}

fn pending_size(dmabuf: &Dmabuf, states: &SurfaceData) -> PendingSize {
    let mut attributes = states.cached_state.get::<SurfaceAttributes>();
    let pending = attributes.pending();
    let buffer = match &pending.buffer {
        None => return PendingSize::Unchanged,
        Some(BufferAssignment::Removed) => return PendingSize::Removed,
        Some(BufferAssignment::NewBuffer(buffer)) => buffer,
    };
    let scale = pending.buffer_scale.max(1);
    let transform = buffer_transform(pending.buffer_transform);
    let of_dmabuf = dmabuf.find(buffer).and_then(|buffer| {
        let extent = buffer.buffer().layout().extent();
        let (width, height) = (extent.width(), extent.height());
        Some((usize::try_from(width).ok()?, usize::try_from(height).ok()?))
    });
    let of_shm = || {
        let size = with_buffer_contents(buffer, |_, _, data| (data.width, data.height)).ok()?;
        Some((usize::try_from(size.0).ok()?, usize::try_from(size.1).ok()?))
    };
    let size = of_dmabuf.or_else(of_shm);
    drop(attributes);
    let mut viewport = states.cached_state.get::<ViewportCachedState>();
    if let Some(size) = viewport.pending().size() {
        return PendingSize::Size(size.w, size.h);
    }
    let Some(pixels) = size else {
        return PendingSize::Unknown;
    };
    let (width, height) = logical_size(pixels, transform, scale);
    PendingSize::Size(width, height)
}

impl State {
    /// Checks a commit of a lock surface before its buffer is taken, and posts the protocol error if it violates the rules. It
    /// does nothing with other surfaces.
    pub(crate) fn check_lock_commit(&mut self, surface: &WlSurface) {
        let has_content = self.stack.has_content(surface);
        let Some(known) = self.stack.session_lock.find_mut(surface) else {
            return;
        };
        let Some(acknowledged) = known.acknowledged else {
            let message = "the surface was committed before its first ack_configure";
            known.role.post_error(Error::CommitBeforeFirstAck, message);
            return;
        };
        let (width, height) = acknowledged;
        let size = with_states(surface, |states| pending_size(&self.dmabuf, states));
        match size {
            PendingSize::Size(..) if size == PendingSize::Size(width, height) => {}
            PendingSize::Unknown => {}
            PendingSize::Unchanged if has_content => {}
            PendingSize::Unchanged | PendingSize::Removed => {
                let message = "a lock surface needs a buffer";
                known.role.post_error(Error::NullBuffer, message);
            }
            PendingSize::Size(other_width, other_height) => {
                let message = format!(
                    "the surface has {other_width}x{other_height} pixels instead of {width}x{height}"
                );
                known.role.post_error(Error::DimensionsMismatch, message);
            }
        }
    }
}
