//! The first fault of a pipeline, with the command line that remedies it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::bus_format::BusFormat;
use super::node_format::NodeFormat;
use super::topology::{Pad, Topology, TopologyError};
use crate::text::{printable, shell_word};

/// A pad of an entity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PadName {
    /// The name of the entity. The driver chooses it, so it can contain any characters.
    pub entity: String,
    /// The number of the pad.
    pub pad: u16,
}

impl PadName {
    pub(super) fn of(topology: &Topology, pad: Pad) -> Result<Self, TopologyError> {
        Ok(Self {
            entity: topology.entity(pad.entity)?.name.clone(),
            pad: pad.index,
        })
    }

    /// Returns the pad in the syntax of media-ctl, which puts names in double quotes; `None` if the name contains a quote, a
    /// backslash or a character that is not printable ASCII.
    fn for_media_ctl(&self) -> Option<String> {
        let is_plain =
            |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\';
        let is_name = !self.entity.is_empty() && self.entity.bytes().all(is_plain);
        is_name.then(|| format!("\"{}\":{}", self.entity, self.pad))
    }
}

impl fmt::Display for PadName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "pad {} of {}", self.pad, printable(&self.entity))
    }
}

/// Why a pipeline cannot stream. The kernel reports it as EPIPE or ENOLINK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum PipelineFault {
    /// A pad that needs an enabled link has no enabled link.
    Unlinked {
        /// The pad that lacks an enabled link.
        pad: PadName,
        /// Whether the pad is a source pad, where links begin; otherwise it is a sink pad.
        is_source: bool,
        /// The pad at the other end of a link that is disabled; `None` if the device has no link for the pad.
        other: Option<PadName>,
    },
    /// The pads of an enabled link have different formats.
    Mismatch {
        /// The pad at which the link begins.
        source: PadName,
        /// The format of the source pad.
        source_format: BusFormat,
        /// The pad at which the link ends.
        sink: PadName,
        /// The format of the sink pad.
        sink_format: BusFormat,
    },
    /// The format of a video node does not match the pictures that its pad receives.
    Node {
        /// The pad that delivers the pictures.
        source: PadName,
        /// The format of the source pad.
        source_format: BusFormat,
        /// The pad of the video node.
        sink: PadName,
        /// The device node.
        node: PathBuf,
        /// The format of the node.
        node_format: NodeFormat,
        /// A format with which the video node can capture the pictures of the source pad; `None` if there is none.
        possible: Option<NodeFormat>,
    },
}

impl PipelineFault {
    /// Returns a command line that a person can paste to remedy this fault; `None` if a name cannot be quoted, or if the media
    /// bus code has no name.
    ///
    /// For [`PipelineFault::Mismatch`], the command sets the format of the source pad on the sink pad. The driver of the sink pad
    /// may set another format instead: a debayer, for example, does not accept RGB. The pipeline may have another fault after the
    /// command. `covalent-camera --setup-links` remedies all faults.
    #[must_use]
    pub fn command(&self, media: &Path) -> Option<String> {
        let media = shell_word(media.to_str()?)?;
        match self {
            Self::Unlinked {
                pad,
                is_source,
                other,
            } => {
                let (pad, other) = (pad.for_media_ctl()?, other.as_ref()?.for_media_ctl()?);
                let link = match is_source {
                    true => format!("{pad}->{other}[1]"),
                    false => format!("{other}->{pad}[1]"),
                };
                Some(format!("media-ctl -d {media} -l {}", shell_word(&link)?))
            }
            Self::Mismatch {
                source_format,
                sink,
                ..
            } => {
                let format = format!(
                    "{}[fmt:{}/{}x{}]",
                    sink.for_media_ctl()?,
                    source_format.code.name()?,
                    source_format.width,
                    source_format.height
                );
                Some(format!("media-ctl -d {media} -V {}", shell_word(&format)?))
            }
            Self::Node { node, possible, .. } => {
                let format = (*possible)?;
                let node = shell_word(node.to_str()?)?;
                let pixel_format = shell_word(&format.pixel_format.to_string())?;
                Some(format!(
                    "v4l2-ctl -d {node} --set-fmt-video=width={},height={},pixelformat={pixel_format}",
                    format.extent.width(),
                    format.extent.height(),
                ))
            }
        }
    }
}

impl fmt::Display for PipelineFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlinked {
                pad,
                is_source,
                other: Some(other),
            } => {
                let direction = if *is_source { "to" } else { "from" };
                write!(
                    out,
                    "{pad} has no enabled link; the link {direction} {other} is disabled"
                )
            }
            Self::Unlinked {
                pad, other: None, ..
            } => write!(out, "{pad} has no enabled link"),
            Self::Mismatch {
                source,
                source_format,
                sink,
                sink_format,
            } => write!(
                out,
                "{source} has {source_format}, and {sink}, to which it is linked, has {sink_format}"
            ),
            Self::Node {
                source,
                source_format,
                sink,
                node_format,
                ..
            } => write!(
                out,
                "{source} has {source_format}, and {sink}, to which it is linked, is set to {node_format}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bus_code::BusCode;
    use super::super::fixture::{BAYER, RGB, RGB3};
    use super::*;
    use crate::model::Extent;

    fn pad(entity: &str, pad: u16) -> PadName {
        let entity = entity.to_owned();
        PadName { entity, pad }
    }

    fn mismatch(source: &str, code: BusCode) -> PipelineFault {
        let size = Extent::new(640, 480).unwrap();
        PipelineFault::Mismatch {
            source: pad("Sensor A", 0),
            source_format: BusFormat::new(size, code),
            sink: pad(source, 0),
            sink_format: BusFormat::new(size, BAYER),
        }
    }

    #[test]
    fn fault_names_both_pads_and_formats_and_the_command() {
        let fault = mismatch("Debayer A", RGB);
        assert_eq!(
            fault.to_string(),
            "pad 0 of Sensor A has RGB888_1X24 640x480, and pad 0 of Debayer A, to which it is linked, has SRGGB8_1X8 640x480"
        );
        assert_eq!(
            fault.command(Path::new("/dev/media0")).as_deref(),
            Some("media-ctl -d /dev/media0 -V '\"Debayer A\":0[fmt:RGB888_1X24/640x480]'")
        );
        let unlinked = PipelineFault::Unlinked {
            pad: pad("Scaler", 0),
            is_source: false,
            other: Some(pad("RGB/YUV Input", 0)),
        };
        assert_eq!(
            unlinked.command(Path::new("/dev/media0")).as_deref(),
            Some("media-ctl -d /dev/media0 -l '\"RGB/YUV Input\":0->\"Scaler\":0[1]'")
        );
        let source = PipelineFault::Unlinked {
            pad: pad("Debayer A", 1),
            is_source: true,
            other: Some(pad("Scaler", 0)),
        };
        assert_eq!(
            source.command(Path::new("/dev/media0")).as_deref(),
            Some("media-ctl -d /dev/media0 -l '\"Debayer A\":1->\"Scaler\":0[1]'")
        );
        assert_eq!(
            source.to_string(),
            "pad 1 of Debayer A has no enabled link; the link to pad 0 of Scaler is disabled"
        );
    }

    #[test]
    fn node_that_is_set_to_another_format_gets_the_possible_one() {
        let extent = Extent::new(640, 480).unwrap();
        let possible = NodeFormat {
            extent,
            pixel_format: RGB3,
        };
        let fault = PipelineFault::Node {
            source: pad("Scaler", 1),
            source_format: BusFormat::new(extent, RGB),
            sink: pad("RGB/YUV Capture", 0),
            node: PathBuf::from("/dev/video6"),
            node_format: NodeFormat {
                extent: Extent::new(320, 240).unwrap(),
                ..possible
            },
            possible: Some(possible),
        };
        assert_eq!(
            fault.command(Path::new("/dev/media0")).as_deref(),
            Some("v4l2-ctl -d /dev/video6 --set-fmt-video=width=640,height=480,pixelformat=RGB3")
        );
        assert!(
            fault.to_string().ends_with("is set to RGB3 320x240"),
            "{fault}"
        );
    }

    #[test]
    fn name_that_cannot_be_quoted_gives_no_command_and_is_printed_visibly() {
        for name in ["a\"b", "a\\b", "a\nb", "\u{1b}[2J", "", "\u{202e}b"] {
            let fault = mismatch(name, RGB);
            assert_eq!(fault.command(Path::new("/dev/media0")), None, "{name:?}");
            assert!(!fault.to_string().contains(['\n', '\u{1b}', '\u{202e}']));
        }
        // A single quote is quoted for the shell.
        let command = mismatch("a'b", RGB).command(Path::new("/dev/media0"));
        assert!(command.unwrap().contains(r"a'\''b"));
        assert_eq!(
            mismatch("a", BusCode(0xdead)).command(Path::new("/dev/media0")),
            None
        );
    }
}
