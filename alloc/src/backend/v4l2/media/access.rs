//! The operations on a media device that the check and the setup of a pipeline use. Tests implement them for a simulated device.

use std::path::PathBuf;

use super::super::PixelFormat;
use super::bus_code::BusCode;
use super::bus_format::BusFormat;
use super::error::MediaError;
use super::node_format::NodeFormat;
use super::topology::{Entity, Link, Pad};

/// The kind of format of a pad that is set (`enum v4l2_subdev_format_whence`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// The format that only this open file sees, in order to find out what the driver supports (`V4L2_SUBDEV_FORMAT_TRY`).
    Try,
    /// The format that the hardware uses (`V4L2_SUBDEV_FORMAT_ACTIVE`).
    Active,
}

/// The formats and links of a media device.
pub(super) trait Access {
    /// Returns the active format of a pad of a sub-device; `None` if the entity has no device node.
    fn pad_format(&mut self, entity: &Entity, pad: Pad) -> Result<Option<BusFormat>, MediaError>;

    /// Sets the format of a pad of a sub-device, and returns the format that the driver set.
    fn set_pad_format(
        &mut self,
        entity: &Entity,
        pad: Pad,
        which: Which,
        wanted: BusFormat,
    ) -> Result<BusFormat, MediaError>;

    /// Lists the media bus codes of a pad of a sub-device. The codes of a source pad depend on the try format of the sink pad.
    fn codes(&mut self, entity: &Entity, pad: Pad) -> Result<Vec<BusCode>, MediaError>;

    /// Returns the path of the entity's device node.
    fn node_path(&mut self, entity: &Entity) -> Result<PathBuf, MediaError>;

    /// Returns the format of a video node; `None` if it captures no pictures.
    fn node_format(&mut self, entity: &Entity) -> Result<Option<NodeFormat>, MediaError>;

    /// Sets the format of a video node, and returns the format that the driver set.
    fn set_node_format(
        &mut self,
        entity: &Entity,
        wanted: NodeFormat,
    ) -> Result<NodeFormat, MediaError>;

    /// Lists the pixel formats that a video node can capture if its pad has this media bus code.
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
