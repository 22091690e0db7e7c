//! The state of the selections that Smithay does not keep: the sources that were used, and the devices to be forgotten.
//!
//! Smithay 0.7 forgets a device only at the request that destroys it. A client that disconnects without this request leaves the
//! device in the list of the seat, which would grow with each connection. The destroyed devices are therefore collected here, and
//! `handlers/selection.rs` removes them from Smithay's list before a device is added.

use std::collections::HashMap;

use smithay::reexports::wayland_protocols::ext::data_control::v1::server::ext_data_control_device_v1::ExtDataControlDeviceV1;
use smithay::reexports::wayland_protocols::wp::primary_selection::zv1::server::zwp_primary_selection_device_v1::ZwpPrimarySelectionDeviceV1;
use smithay::reexports::wayland_protocols_wlr::data_control::v1::server::zwlr_data_control_device_v1::ZwlrDataControlDeviceV1;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_data_device::WlDataDevice;
use smithay::wayland::selection::SelectionTarget;

/// The longest MIME type that a source can offer, in bytes. RFC 6838 allows 255: a type and a subtype of 127 each. All types of a
/// source are sent at once, so with long types the events would fill the socket of a client that reads them at any speed.
pub const MIME_TYPE_MAX: usize = 255;

/// A source of the primary selection or of data-control.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// The number of its MIME types.
    types: u64,
    /// Whether it was used in a request that sets a selection.
    is_used: bool,
}

/// The sources and devices of all clients.
#[derive(Debug, Default)]
pub struct Selections {
    /// The sources whose MIME types or use have to be known.
    sources: HashMap<ObjectId, Source>,
    /// The source of the request that is handled now.
    requested: Option<ObjectId>,
    /// The source of the clipboard.
    clipboard: Option<ObjectId>,
    /// The source of the primary selection.
    primary: Option<ObjectId>,
    /// The destroyed devices that Smithay has not forgotten yet.
    pub(crate) closed: ClosedDevices,
}

/// The destroyed devices of each protocol.
#[derive(Debug, Default)]
pub(crate) struct ClosedDevices {
    pub(crate) data: Vec<WlDataDevice>,
    pub(crate) primary: Vec<ZwpPrimarySelectionDeviceV1>,
    pub(crate) ext: Vec<ExtDataControlDeviceV1>,
    pub(crate) wlr: Vec<ZwlrDataControlDeviceV1>,
}

impl Selections {
    /// Adds a MIME type to a source; returns the number of its types.
    pub(crate) fn add_type(&mut self, source: ObjectId) -> u64 {
        let source = self.sources.entry(source).or_default();
        source.types = source.types.saturating_add(1);
        source.types
    }

    /// Returns whether a source was used in a request that sets a selection.
    pub(crate) fn is_used(&self, source: &ObjectId) -> bool {
        self.sources
            .get(source)
            .is_some_and(|source| source.is_used)
    }

    /// Records that a source is used in a request that sets a selection.
    pub(crate) fn mark_used(&mut self, source: ObjectId) {
        self.sources.entry(source).or_default().is_used = true;
    }

    /// Records the source of a request that sets a selection, before Smithay handles the request.
    pub(crate) fn request(&mut self, source: Option<ObjectId>) {
        self.requested = source;
    }

    /// Records that Smithay has set a selection to the source of the request that is handled now.
    pub(crate) fn set(&mut self, target: SelectionTarget) {
        *self.current(target) = self.requested.take();
    }

    /// Removes a destroyed source; returns the selections that it provided.
    pub(crate) fn source_destroyed(&mut self, source: &ObjectId) -> Vec<SelectionTarget> {
        self.sources.remove(source);
        let mut ended = Vec::new();
        for target in [SelectionTarget::Clipboard, SelectionTarget::Primary] {
            let current = self.current(target);
            if current.as_ref() == Some(source) {
                *current = None;
                ended.push(target);
            }
        }
        ended
    }

    /// Returns the number of sources whose state is kept.
    pub fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Returns the number of destroyed devices that Smithay has not forgotten yet.
    pub fn closed_device_count(&self) -> usize {
        let ClosedDevices {
            data,
            primary,
            ext,
            wlr,
        } = &self.closed;
        [data.len(), primary.len(), ext.len(), wlr.len()]
            .iter()
            .sum()
    }

    fn current(&mut self, target: SelectionTarget) -> &mut Option<ObjectId> {
        match target {
            SelectionTarget::Clipboard => &mut self.clipboard,
            SelectionTarget::Primary => &mut self.primary,
        }
    }
}
