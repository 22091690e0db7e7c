//! The reasons why a media device cannot be queried or set up.

use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use super::bus_format::BusFormat;
use super::fault::{PadName, PipelineFault};
use super::topology::TopologyError;
use crate::SystemError;
use crate::text::{printable, printable_path};

/// Why an operation on a media device failed.
#[derive(Error)]
#[non_exhaustive]
pub enum MediaError {
    /// A device node of the media device or of one of its entities cannot be opened.
    #[error("{device} cannot be opened: {source}{}", remedy(*source), device = printable_path(device))]
    Open {
        /// The device node.
        device: PathBuf,
        /// The error of the kernel.
        source: SystemError,
    },
    /// An ioctl failed.
    #[error("{device}: {operation} failed: {source}", device = printable_path(device))]
    Request {
        /// The device node.
        device: PathBuf,
        /// The ioctl.
        operation: &'static str,
        /// The error of the kernel.
        source: SystemError,
    },
    /// The driver describes a graph that is not consistent.
    #[error("the driver describes its entities wrongly: {source}; this is a fault of the driver")]
    Topology {
        /// What is inconsistent.
        source: TopologyError,
    },
    /// Another open file streams from the pipeline, so nothing was changed.
    #[error("{device} is in use, so its pipeline is not set up, and nothing was changed; end the program that streams from it (`fuser -v {device}` names it)", device = printable_path(device))]
    Busy {
        /// The video node.
        device: PathBuf,
    },
    /// A link or pad became busy while the pipeline was set up.
    #[error(
        "{operation} for {what} returned EBUSY, because another program streams from the pipeline, which can be set up in part; \
         end that program, and set up the pipeline again"
    )]
    BusyPart {
        /// The ioctl.
        operation: &'static str,
        /// The link or the pad.
        what: String,
    },
    /// No path of links leads from a sensor to the video node.
    #[error(
        "no sensor can be linked to {}: every path from one has a link that is disabled for ever",
        printable(entity)
    )]
    NoPath {
        /// The entity of the video node.
        entity: String,
    },
    /// The video node belongs to no media device.
    #[error("{device} belongs to no media device, so it has no pipeline to set up; its driver controls its input", device = printable_path(device))]
    NoMediaDevice {
        /// The video node.
        device: PathBuf,
    },
    /// An entity of the path has no device node.
    #[error(
        "{} has no device node, so its format cannot be set; was the driver built without CONFIG_VIDEO_V4L2_SUBDEV_API?",
        printable(entity)
    )]
    NoNode {
        /// The entity.
        entity: String,
    },
    /// With no format of the sensor can the video node capture in one of the requested formats.
    #[error(
        "no format of {} can be delivered by {} as {wanted}; choose another one with --format or --size",
        printable(sensor),
        printable(node)
    )]
    NoFormat {
        /// The entity of the sensor.
        sensor: String,
        /// The entity of the video node.
        node: String,
        /// The wanted formats and size.
        wanted: String,
    },
    /// A driver set another active format than the try format that it had accepted.
    #[error(
        "{pad} was set to {wanted}, and the driver set {set}, although it accepted the format when it was tried"
    )]
    Refused {
        /// The pad.
        pad: PadName,
        /// The requested format.
        wanted: BusFormat,
        /// The format that the driver set.
        set: BusFormat,
    },
    /// The pipeline has another fault after it was set up.
    #[error("the pipeline was set up, and cannot stream: {fault}")]
    Incomplete {
        /// The fault.
        fault: Box<PipelineFault>,
    },
    /// An operation on a video node failed.
    #[error(transparent)]
    Video(Box<super::super::Error>),
}

crate::debug_as_display!(MediaError);

impl MediaError {
    pub(super) fn topology(source: TopologyError) -> Self {
        Self::Topology { source }
    }

    pub(super) fn video(error: super::super::Error) -> Self {
        Self::Video(Box::new(error))
    }
}

/// Returns the remedy for an error of opening a device node, with which the message ends.
fn remedy(error: SystemError) -> &'static str {
    match error.errno() {
        Errno::ACCESS | Errno::PERM => "; add the user to the group `video`",
        _ => "",
    }
}
