//! The state of the selections that Smithay does not keep: the sources that were used, and the devices to be forgotten.
//!
//! Smithay 0.7 forgets a device only at the request that destroys it. A client that disconnects without this request leaves the
//! device in the list of the seat, which would grow with each connection. The destroyed devices are therefore collected here, and
//! `handlers/selection.rs` removes them from Smithay's list before a device is added.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use smithay::reexports::wayland_protocols::ext::data_control::v1::server::ext_data_control_device_v1::ExtDataControlDeviceV1;
use smithay::reexports::wayland_protocols::wp::primary_selection::zv1::server::zwp_primary_selection_device_v1::ZwpPrimarySelectionDeviceV1;
use smithay::reexports::wayland_protocols_wlr::data_control::v1::server::zwlr_data_control_device_v1::ZwlrDataControlDeviceV1;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_data_device::WlDataDevice;
use smithay::wayland::selection::SelectionTarget;

use crate::limits::amount;

/// The longest MIME type that a source can offer, in bytes. RFC 6838 allows 255: a type and a subtype of 127 each. All types of a
/// source are sent at once, so with long types the events would fill the socket of a client that reads them at any speed.
pub const MIME_TYPE_MAX: usize = 255;

/// The cost of setting a selection, in addition to the bytes of its MIME types.
const CHANGE_COST: u64 = 1024;
/// The cost of the selections that a client may set at once. It is less than the socket of a client holds.
const ALLOWANCE_MAX: u64 = 128 * 1024;
/// The part of the allowance that returns in a second.
const ALLOWANCE_PER_SECOND: u64 = 256 * 1024;

/// How many selections a client may set now.
///
/// Each selection is sent to all devices of data-control, and to the client with keyboard focus. A client that sets one after the
/// other would fill the sockets of the others, which would be disconnected although they read their events.
#[derive(Debug)]
pub struct SelectionAllowance(Mutex<(u64, Duration)>);

impl Default for SelectionAllowance {
    fn default() -> Self {
        Self(Mutex::new((ALLOWANCE_MAX, Duration::ZERO)))
    }
}

impl SelectionAllowance {
    /// Takes the cost of a selection with that many bytes of MIME types. Returns whether the selection may be set.
    pub(crate) fn take(&self, bytes: u64, now: Duration) -> bool {
        let mut allowance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_sub(allowance.1).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let returned = passed.saturating_mul(ALLOWANCE_PER_SECOND) / 1000;
        let left = allowance.0.saturating_add(returned).min(ALLOWANCE_MAX);
        // Less than a millisecond is added to the next request.
        let at = if returned > 0 { now } else { allowance.1 };
        let cost = bytes.saturating_add(CHANGE_COST);
        let remaining = left.checked_sub(cost);
        *allowance = (remaining.unwrap_or(left), at);
        remaining.is_some()
    }
}

/// A source of the primary selection or of data-control.
#[derive(Clone, Copy, Debug, Default)]
struct Source {
    /// The number of its MIME types.
    types: u64,
    /// The total size of its MIME types.
    bytes: u64,
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
    pub(crate) fn add_type(&mut self, source: ObjectId, mime_type: &str) -> u64 {
        let source = self.sources.entry(source).or_default();
        source.bytes = source.bytes.saturating_add(amount(mime_type.len()));
        source.types = source.types.saturating_add(1);
        source.types
    }

    /// Returns the total size of the MIME types of a source.
    pub(crate) fn type_bytes(&self, source: &ObjectId) -> u64 {
        self.sources.get(source).map_or(0, |source| source.bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowance_permits_the_selections_of_a_user_and_not_those_of_a_loop() {
        let allowance = SelectionAllowance::default();
        let mut now = Duration::from_secs(100);
        // Text that is selected with the pointer can change the selection with each of its motions.
        for _ in 0..500 {
            now += Duration::from_millis(8);
            assert!(allowance.take(200, now));
        }
        let large = 256 * 255;
        assert!(allowance.take(large, now));
        let at_once = (0..1000).filter(|_| allowance.take(large, now)).count();
        assert!(at_once <= 1, "{at_once}");
        now += Duration::from_secs(1);
        assert!(allowance.take(large, now));
    }
}
