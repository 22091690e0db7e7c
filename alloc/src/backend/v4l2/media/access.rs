//! What the check and the setup of a pipeline need of its entities. Tests have a simulated device.

use std::path::PathBuf;

use super::super::PixelFormat;
use super::bus_code::BusCode;
use super::bus_format::BusFormat;
use super::error::MediaError;
use super::node_format::NodeFormat;
use super::topology::{Entity, Link, Pad};

/// Which format of a pad is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// One of the open file, which changes nothing for others.
    Try,
    /// The one that the hardware uses.
    Active,
}

/// The formats and links of a media device.
pub(super) trait Access {
    /// Returns the active format of a pad of a sub-device; `None` if the entity has no node to ask.
    fn pad_format(&mut self, entity: &Entity, pad: Pad) -> Result<Option<BusFormat>, MediaError>;

    /// Sets the format of a pad of a sub-device, and returns what the driver set.
    fn set_pad_format(
        &mut self,
        entity: &Entity,
        pad: Pad,
        which: Which,
        wanted: BusFormat,
    ) -> Result<BusFormat, MediaError>;

    /// Lists the codes of a pad of a sub-device; those of a source pad depend on the sink pad's format that was tried.
    fn codes(&mut self, entity: &Entity, pad: Pad) -> Result<Vec<BusCode>, MediaError>;

    /// Returns the path of the entity's device node.
    fn node_path(&mut self, entity: &Entity) -> Result<PathBuf, MediaError>;

    /// Returns the format of a video node; `None` if it captures no pictures.
    fn node_format(&mut self, entity: &Entity) -> Result<Option<NodeFormat>, MediaError>;

    /// Sets the format of a video node, and returns what the driver set.
    fn set_node_format(
        &mut self,
        entity: &Entity,
        wanted: NodeFormat,
    ) -> Result<NodeFormat, MediaError>;

    /// Lists the pixel formats that a video node makes of pictures with this code.
    fn pixel_formats(
        &mut self,
        entity: &Entity,
        code: BusCode,
    ) -> Result<Vec<PixelFormat>, MediaError>;

    /// Returns whether another open file streams from a video node, or has buffers of it.
    fn is_busy(&mut self, entity: &Entity) -> Result<bool, MediaError>;

    /// Enables or disables a link.
    fn enable(&mut self, link: Link, is_enabled: bool) -> Result<(), MediaError>;
}
