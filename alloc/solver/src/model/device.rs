//! Which device a participant or a source is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::Printable;

/// A device, named so that a person finds it again: its driver, where it sits, and its node.
///
/// Two identities are the same device when driver and location are equal; nodes are numbered anew at each boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceIdentity {
    /// The kernel driver, as it names itself: `virtio_gpu`, `vivid`.
    pub driver: String,
    /// Where the device sits: a PCI address, a platform name; empty for what has no place, like a heap.
    pub location: String,
    /// The node through which it was opened, such as `/dev/video0`.
    pub node: String,
}

impl DeviceIdentity {
    /// Whether both name the same device, whatever nodes they were opened through.
    #[must_use]
    pub fn same_device(&self, other: &Self) -> bool {
        self.driver == other.driver && self.location == other.location
    }
}

impl fmt::Display for DeviceIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", Printable(&self.driver))?;
        if !self.location.is_empty() {
            write!(out, " at {}", Printable(&self.location))?;
        }
        if !self.node.is_empty() {
            write!(out, " ({})", Printable(&self.node))?;
        }
        Ok(())
    }
}
