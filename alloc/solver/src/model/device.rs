//! The identity of a device.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::Printable;

/// A device's driver, location and node.
///
/// Two identities are the same device if driver and location are equal. Node numbers change from boot to boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceIdentity {
    /// The name of the kernel driver: `virtio_gpu`, `vivid`.
    pub driver: String,
    /// The device's location: a PCI address or a platform device's name; empty for what has none, such as a dma-heap.
    pub location: String,
    /// The device node through which it was opened, such as `/dev/video0`.
    pub node: String,
}

impl DeviceIdentity {
    /// Returns whether both are the same device, whichever nodes they were opened through.
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
