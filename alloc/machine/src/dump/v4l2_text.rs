//! The parser of the text that `v4l2-ctl --all` and `v4l2-ctl --list-formats-ext` print.
//!
//! ```text
//! Driver Info:
//!         Driver name      : uvcvideo
//!         Bus info         : usb-0000:00:14.0-8
//! Format Video Capture:
//!         Width/Height      : 1280/720
//!         Pixel Format      : 'YUYV' (YUYV 4:2:2)
//!         Bytes per Line    : 2560
//! ioctl: VIDIOC_ENUM_FMT
//!         Type: Video Capture
//!         [0]: 'YUYV' (YUYV 4:2:2)
//!                 Size: Discrete 640x480
//! ```
//! Older versions write a format of the list as the lines `Index`, `Type`, `Pixel Format` and `Name`. A file may have several
//! devices, and both texts of one device.

use covalent_solver::model::Extent;

use super::error::LineError;
use super::text::{Line, last_line, lines, value_of, video_node};
use super::video::{CurrentFormat, ListedFormat, Video};
use crate::v4l2::PixelFormat;

/// The maximum number of devices in a file, the maximum number of formats of a queue, and the maximum number of sizes of a
/// format.
const MAXIMUM: usize = 256;

/// The section of the text to which the current line belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Driver,
    /// The format that is set on a queue. The value is true for an output queue.
    Format(bool),
    /// The list of formats of a queue. The value is true for an output queue, and `None` before the line with the queue's type.
    List(Option<bool>),
    Other,
}

/// Returns whether a line begins a text of v4l2-ctl.
pub(super) fn is_first(line: &str) -> bool {
    line.starts_with("Driver Info")
        || line.starts_with("ioctl: VIDIOC_ENUM_FMT")
        || is_output_type(line, "Format ").is_some()
}

/// Reads the devices of a text, in memory and time proportional to its length.
pub(super) fn read(text: &str) -> Result<Vec<Video>, LineError> {
    let mut reader = Reader {
        found: Vec::new(),
        video: Video::default(),
        node: None,
        section: Section::Other,
        format: None,
    };
    for line in lines(text) {
        reader.line(line)?;
    }
    reader.finish_format()?;
    reader.finish_video();
    if reader.found.is_empty() {
        let expected = "Driver Info, a format or a list of formats, as v4l2-ctl prints them";
        return Err(LineError::new(last_line(text), expected, ""));
    }
    Ok(reader.found)
}

struct Reader {
    found: Vec<Video>,
    video: Video,
    /// The node that the latest command line in the text names.
    node: Option<String>,
    section: Section,
    /// The format that is being read, with its direction and its first line.
    format: Option<PartialFormat>,
}

struct PartialFormat {
    is_output: bool,
    line: usize,
    /// Whether the driver has set no format yet. Its size is then 0/0, and its code may be empty.
    is_unset: bool,
    extent: Option<Extent>,
    pixel_format: Option<PixelFormat>,
    strides: Vec<u32>,
    sizes: Vec<u32>,
}

impl Reader {
    /// Reads a line of v4l2-ctl's output, as the current section requires.
    fn line(&mut self, line: Line<'_>) -> Result<(), LineError> {
        let text = line.text;
        if text.contains("v4l2-ctl") || text.starts_with("DEVICE:") {
            return self.device(video_node(text));
        }
        if let Some(node) = line.node.filter(|own| self.node.as_deref() != Some(*own)) {
            self.device(video_node(node))?;
        }
        if text.starts_with("Driver Info") {
            self.finish_format()?;
            if !self.video.is_empty() {
                self.finish_video();
            }
            self.section = Section::Driver;
        } else if let Some(is_output) = is_output_type(text, "Format ") {
            self.finish_format()?;
            self.section = Section::Format(is_output);
            self.format = Some(PartialFormat {
                is_output,
                line: line.number,
                is_unset: false,
                extent: None,
                pixel_format: None,
                strides: Vec::new(),
                sizes: Vec::new(),
            });
        } else if text.starts_with("ioctl: VIDIOC_ENUM_FMT") {
            self.finish_format()?;
            self.section = Section::List(None);
        } else if is_other_section(text) {
            self.finish_format()?;
            self.section = Section::Other;
        } else {
            return match self.section {
                Section::Driver => self.driver_line(text),
                Section::Format(_) => self.format_line(line),
                Section::List(is_output) => self.list_line(line, is_output),
                Section::Other => Ok(()),
            };
        }
        Ok(())
    }

    /// Begins a device. If an earlier text of the file describes the same device, its description is continued.
    fn device(&mut self, node: Option<String>) -> Result<(), LineError> {
        self.finish_format()?;
        if node != self.video.node || !self.video.queues.is_empty() {
            self.finish_video();
        }
        self.video.node.clone_from(&node);
        self.node = node;
        self.section = Section::Other;
        Ok(())
    }

    fn driver_line(&mut self, text: &str) -> Result<(), LineError> {
        if let Some(value) = value_of(text, "Driver name") {
            self.video.driver = value.to_owned();
        } else if let Some(value) = value_of(text, "Bus info") {
            self.video.bus = value.to_owned();
        } else if let Some(value) = value_of(text, "Driver version") {
            self.video.kernel = value.to_owned();
        }
        Ok(())
    }

    fn format_line(&mut self, line: Line<'_>) -> Result<(), LineError> {
        let Some(format) = &mut self.format else {
            return Ok(());
        };
        if let Some(value) = value_of(line.text, "Width/Height") {
            let sides = value.split_once('/').and_then(|(width, height)| {
                let width: u32 = width.trim().parse().ok()?;
                Some((width, height.trim().parse::<u32>().ok()?))
            });
            let expected = "a width and a height, such as 1280/720";
            let none = || LineError::new(line.number, expected, value);
            let (width, height) = sides.ok_or_else(none)?;
            if width == 0 && height == 0 {
                format.is_unset = true;
            } else {
                format.extent = Some(Extent::new(width, height).map_err(|_| none())?);
            }
        } else if let Some(value) = value_of(line.text, "Pixel Format") {
            if !format.is_unset {
                format.pixel_format = Some(pixel_format(line.number, value)?);
            }
        } else if let Some(value) = value_of(line.text, "Bytes per Line") {
            push(&mut format.strides, line.number, value)?;
        } else if let Some(value) = value_of(line.text, "Size Image") {
            push(&mut format.sizes, line.number, value)?;
        }
        Ok(())
    }

    fn list_line(&mut self, line: Line<'_>, is_output: Option<bool>) -> Result<(), LineError> {
        let text = line.text;
        if let Some(value) = value_of(text, "Type") {
            let is_output = is_output_type(value, "");
            self.section = match is_output {
                Some(is_output) => Section::List(Some(is_output)),
                // Queues of other types, such as metadata and SDR, have no pictures.
                None => Section::Other,
            };
            if let Some(is_output) = is_output {
                let queue = self.video.queue(is_output);
                queue.listed.get_or_insert_default();
            }
            return Ok(());
        }
        let Some(is_output) = is_output else {
            return Ok(());
        };
        let listed = self.video.queue(is_output).listed.get_or_insert_default();
        let code = match text
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("]:"))
        {
            Some((_, value)) => Some(value.trim()),
            None => value_of(text, "Pixel Format"),
        };
        if let Some(code) = code {
            if listed.len() >= MAXIMUM {
                let expected = format!("at most {MAXIMUM} formats of a queue");
                return Err(LineError::new(line.number, expected, text));
            }
            listed.push(ListedFormat {
                pixel_format: pixel_format(line.number, code)?,
                discrete: Vec::new(),
                stepwise: None,
            });
        } else if let (Some(value), Some(last)) = (value_of(text, "Size"), listed.last_mut()) {
            let expected =
                "a size, such as Discrete 640x480 or Stepwise 16x16 - 1920x1080 with step 2/2";
            let none = || LineError::new(line.number, expected, value);
            if let Some(size) = value.strip_prefix("Discrete") {
                let size = size.trim().parse().map_err(|_| none())?;
                if last.discrete.len() < MAXIMUM {
                    last.discrete.push(size);
                }
            } else {
                last.stepwise = Some(range(value).ok_or_else(none)?);
            }
        }
        Ok(())
    }

    fn finish_format(&mut self) -> Result<(), LineError> {
        let Some(format) = self.format.take() else {
            return Ok(());
        };
        if format.is_unset {
            return Ok(());
        }
        let (Some(extent), Some(pixel_format)) = (format.extent, format.pixel_format) else {
            let expected = "Width/Height and Pixel Format below it";
            return Err(LineError::new(format.line, expected, "Format"));
        };
        self.video.queue(format.is_output).current = Some(CurrentFormat {
            extent,
            pixel_format,
            strides: format.strides,
            sizes: format.sizes,
        });
        Ok(())
    }

    /// Ends the device that is being read, and adds it to the devices of the file.
    fn finish_video(&mut self) {
        let mut video = std::mem::take(&mut self.video);
        if video.is_empty() {
            return;
        }
        if video.node.is_none() {
            video.node.clone_from(&self.node);
        }
        let same = self.found.iter().position(|own| {
            own.node == video.node && (own.node.is_some() || video.driver.is_empty())
        });
        match same {
            Some(at) => self.found[at].merge(video),
            None if self.found.len() < MAXIMUM => self.found.push(video),
            None => {}
        }
    }
}

/// Returns whether the queue type after a prefix is an output (`Video Output`, `Video Output Multiplanar`) and not a capture;
/// `None` for another line.
fn is_output_type(line: &str, prefix: &str) -> Option<bool> {
    let rest = line.strip_prefix(prefix)?.trim_end_matches(':').trim();
    match rest {
        "Video Capture" | "Video Capture Multiplanar" => Some(false),
        "Video Output" | "Video Output Multiplanar" => Some(true),
        _ => None,
    }
}

/// Returns whether a line begins a section from which nothing is read.
fn is_other_section(text: &str) -> bool {
    /// How the first lines of these sections begin.
    const STARTS: [&str; 14] = [
        "Media Driver Info",
        "Interface Info",
        "Entity Info",
        "Priority:",
        "Video input",
        "Video output",
        "Format Metadata",
        "Format Video Overlay",
        "Format SDR",
        "Crop ",
        "Selection",
        "Streaming Parameters",
        "User Controls",
        "Camera Controls",
    ];
    STARTS.iter().any(|start| text.starts_with(start))
}

/// Reads the code between quotation marks, such as `'YUYV' (YUYV 4:2:2)`. A code of fewer than four characters is filled up with
/// spaces.
fn pixel_format(line: usize, text: &str) -> Result<PixelFormat, LineError> {
    let expected = "a pixel format of four characters, such as 'YUYV'";
    let none = || LineError::new(line, expected, text);
    let quoted = text
        .strip_prefix('\'')
        .and_then(|rest| rest.split_once('\''));
    let (code, _) = quoted.ok_or_else(none)?;
    let big_endian = code.strip_suffix("-BE");
    let code = big_endian.unwrap_or(code).as_bytes();
    if code.is_empty() || code.len() > 4 || !code.is_ascii() {
        return Err(none());
    }
    let mut bytes = *b"    ";
    for (place, byte) in bytes.iter_mut().zip(code) {
        *place = *byte;
    }
    let mut format = PixelFormat::of(bytes);
    // V4L2 marks big-endian formats with the highest bit of the code.
    if big_endian.is_some() {
        format.0 |= 1 << 31;
    }
    Ok(format)
}

/// Reads a range of sizes such as `Stepwise 16x16 - 1920x1080 with step 2/2`.
fn range(text: &str) -> Option<(Extent, Extent, (u32, u32))> {
    let rest = ["Stepwise", "Continuous"]
        .iter()
        .find_map(|kind| text.strip_prefix(kind))?;
    let (least, rest) = rest.split_once(" - ")?;
    let (most, steps) = match rest.split_once(" with step ") {
        Some((most, steps)) => (most, steps),
        None => (rest, "1/1"),
    };
    let (horizontal, vertical) = steps.trim().split_once('/')?;
    let steps = (horizontal.parse().ok()?, vertical.parse().ok()?);
    let extent = |text: &str| text.trim().parse::<Extent>().ok();
    let (least, most) = (extent(least)?, extent(most)?);
    let is_range = least.width() <= most.width() && least.height() <= most.height();
    (is_range && steps.0 > 0 && steps.1 > 0).then_some((least, most, steps))
}

/// Adds a memory plane's number of bytes to the list of strides or of sizes.
fn push(list: &mut Vec<u32>, line: usize, value: &str) -> Result<(), LineError> {
    /// `VIDEO_MAX_PLANES`.
    const PLANES: usize = 8;
    let none = || LineError::new(line, "a number of bytes", value);
    let bytes = value.parse().map_err(|_| none())?;
    if list.len() >= PLANES {
        return Err(LineError::new(
            line,
            format!("at most {PLANES} planes"),
            value,
        ));
    }
    list.push(bytes);
    Ok(())
}
