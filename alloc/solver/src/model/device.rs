//! The identity of a device.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::Printable;

/// The identity of a device: its driver, location and node.
///
/// Two identities are the same device if driver and location are equal. The node is not compared, because node numbers change
/// from boot to boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceIdentity {
    /// The name of the kernel driver, such as `virtio_gpu` or `vivid`.
    pub driver: String,
    /// The location of the device: a PCI address or the name of a platform device. It is empty for a device without one, such as
    /// a dma-heap.
    pub location: String,
    /// The device node through which the device was opened, such as `/dev/video0`.
    pub node: String,
}

impl DeviceIdentity {
    /// Returns whether both are the same device. Their nodes may differ.
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
