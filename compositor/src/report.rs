//! The report: one line with a JSON object for each presented frame, in order.
//!
//! The frames of an output with new content of a client are numbered. The line of a frame without new content, for example after
//! a window was closed or the mode was changed, has no `frame` field.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use covalent_alloc::buffer::Buffer;
use covalent_alloc::files::{self, FileError};
use covalent_alloc::model::Extent;
use covalent_alloc::text::printable_json;
use serde::Serialize;

use crate::buffer_lock::ReleaseTime;
use crate::clock::nanoseconds;
use crate::control::SurfaceCounter;
use crate::lines::{LineFile, LostLines};

/// How a frame was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FramePath {
    /// A plane, the primary or an overlay plane, scans out the client's buffer.
    Direct,
    /// A renderer composed the surface into an output buffer.
    Composited,
}

/// The buffer of a surface in a frame.
#[derive(Clone, Debug, Serialize)]
pub struct ShownBuffer {
    /// The name of the surface's window: `title/app_id`.
    pub surface: Option<String>,
    /// The process id of the client.
    pub client_pid: Option<i32>,
    /// The inode of the dma-buf; null for `wl_shm` buffers.
    pub buffer: Option<u64>,
    /// The fourcc of the buffer's format as text.
    pub fourcc: Option<String>,
    /// The modifier as text; null for `wl_shm` buffers.
    pub modifier: Option<String>,
    /// The stride of the buffer's first plane in bytes.
    pub stride_bytes: Option<u32>,
    /// The width and height in pixels; null for `wl_shm` buffers.
    pub size: Option<Extent>,
    /// The layout of the planes; empty for `wl_shm` buffers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub planes: Vec<ShownPlane>,
    /// The time at which the compositor acquired the buffer: the buffer was committed, and its acquire point or fences were
    /// signalled.
    #[serde(rename = "acquired_ns", serialize_with = "serialize_time")]
    pub acquired: Option<Duration>,
    /// The time at which the buffer was released; null while the buffer is in use.
    #[serde(rename = "released_ns", serialize_with = "serialize_release_time")]
    pub released: ReleaseTime,
    /// The KMS plane that shows the buffer, for example `overlay 33`; absent if the buffer was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_plane: Option<String>,
    /// The reason why the buffer was drawn; absent if a plane shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_drawn: Option<String>,
    /// The counter of the frames of the surface; `None` in a record without new content.
    #[serde(skip)]
    pub counter: Option<SurfaceCounter>,
    /// Whether this output is the main output of the surface. Only frames of the main output are counted for the surface.
    #[serde(skip)]
    pub is_main: bool,
}

/// The layout of one plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShownPlane {
    /// The inode of the plane's dma-buf.
    pub buffer: u64,
    /// The offset of the plane in its dma-buf in bytes.
    pub offset_bytes: u64,
    /// The stride of the plane in bytes.
    pub stride_bytes: u32,
}

impl ShownPlane {
    /// Returns the layout of each plane of a buffer.
    pub fn all(buffer: &Buffer) -> Vec<Self> {
        let inodes: Vec<u64> = buffer.identities().map(|identity| identity.0).collect();
        let planes = buffer.layout().planes().iter();
        planes
            .map(|plane| Self {
                buffer: inodes.get(plane.memory).copied().unwrap_or_default(),
                offset_bytes: plane.offset_bytes,
                stride_bytes: plane.stride_bytes,
            })
            .collect()
    }
}

/// One presented frame.
#[derive(Clone, Debug, Serialize)]
pub struct FrameRecord {
    /// The name of the output. Each output numbers its frames.
    pub output: String,
    /// The number of the frame on this output, from 1; absent if no surface has new content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// The buffer of the highest surface with new content. Its fields are fields of the record's JSON object.
    #[serde(flatten)]
    pub shown: ShownBuffer,
    /// The buffers of the other surfaces with new content.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<ShownBuffer>,
    /// How the buffer in `shown` was shown. In a frame without new content it is `Composited` if anything was drawn.
    pub path: FramePath,
    /// The reason why the buffer in `shown` was not scanned out.
    pub why_not_direct: Option<String>,
    /// The KMS plane that shows the pointer; absent if it is drawn or not visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor_plane: Option<String>,
    /// The reason why the pointer is drawn; absent if a plane shows it, or it is not visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_cursor_drawn: Option<String>,
    /// The renderer that composed the frame: `gles` or `software`; null if nothing was composed.
    pub renderer: Option<&'static str>,
    /// The reason why the GPU renderer did not compose the frame, or why the CPU uploaded a buffer for the GPU renderer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not_gles: Option<String>,
    /// The number of failed submissions before the output accepted the frame.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// The cause of the last failed submission.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_cause: Option<String>,
    /// The windows of surfaces that are missing in the frame because their buffers could not be read, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// The number of bytes that the CPU wrote for this frame.
    pub cpu_copied_bytes: u64,
    /// The number of bytes that the CPU read from dma-bufs for this frame.
    pub cpu_read_bytes: u64,
    /// The time of the page flip.
    #[serde(rename = "flipped_ns", serialize_with = "serialize_time")]
    pub flipped: Option<Duration>,
    /// The vblank counter; 0 if the card does not count vblanks.
    pub sequence: u32,
    /// The id of the framebuffer on the primary plane; null on a virtual output.
    pub framebuffer: Option<u32>,
}

/// Writes a time in nanoseconds; null if there is none.
fn serialize_time<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(nanoseconds).serialize(to)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Writes the release time of a buffer; null while it is not released.
fn serialize_release_time<S: serde::Serializer>(
    release: &ReleaseTime,
    to: S,
) -> Result<S::Ok, S::Error> {
    serialize_time(&release.get(), to)
}

/// The maximum number of records that wait for the release of their buffers.
const WAITING_MAX: usize = 64;

/// Writes the records in the order of their frames. A record is written when all its buffers are released.
#[derive(Debug)]
pub struct Report<W: Write = File> {
    to: LineFile<W>,
    waiting: VecDeque<FrameRecord>,
}

impl Report {
    /// Creates the file, which replaces an existing one. Only the user of the compositor can read it.
    ///
    /// # Errors
    ///
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        files::create(path).map(Self::new)
    }
}

impl<W: Write> Report<W> {
    /// Creates a report that writes to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to: LineFile::new("the report", to),
            waiting: VecDeque::new(),
        }
    }

    /// Adds the record of a presented frame.
    pub fn add(&mut self, record: FrameRecord) {
        self.waiting.push_back(record);
    }

    /// Writes the records up to the first record with a buffer that is not released.
    ///
    /// If too many records wait, the first record is written without a release time. Otherwise a client that never replaces its
    /// buffer would block the records of all other clients. Lines that cannot be written are only counted, so that a full disk
    /// does not delay frames.
    pub fn flush(&mut self) {
        while let Some(record) = self.waiting.front() {
            let exceeds_limit = self.waiting.len() > WAITING_MAX;
            let mut shown = std::iter::once(&record.shown).chain(&record.others);
            if !exceeds_limit && !shown.all(ShownBuffer::is_released) {
                break;
            }
            if let Some(record) = self.waiting.pop_front() {
                self.write(&record);
            }
        }
    }

    /// Writes the remaining records.
    ///
    /// # Errors
    ///
    /// When any line could not be written.
    pub fn finish(&mut self) -> Result<(), LostLines> {
        for record in std::mem::take(&mut self.waiting) {
            self.write(&record);
        }
        self.to.finish()
    }

    fn write(&mut self, record: &FrameRecord) {
        match serde_json::to_string(record) {
            // Clients choose the titles of windows, and a user may print the report in a terminal, so control characters are
            // escaped.
            Ok(line) => self.to.write(&printable_json(&line)),
            Err(error) => self.to.count_lost(error.into()),
        }
    }
}

impl ShownBuffer {
    /// Returns the empty record of a frame without new content.
    pub fn without_content() -> Self {
        Self {
            surface: None,
            client_pid: None,
            buffer: None,
            fourcc: None,
            modifier: None,
            stride_bytes: None,
            size: None,
            planes: Vec::new(),
            acquired: None,
            released: ReleaseTime::default(),
            kms_plane: None,
            why_drawn: None,
            counter: None,
            is_main: false,
        }
    }

    fn is_released(&self) -> bool {
        self.acquired.is_none() || self.released.get().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(frame: u64, acquired: Option<Duration>) -> FrameRecord {
        FrameRecord {
            output: "Virtual-1".to_owned(),
            frame: Some(frame),
            shown: ShownBuffer {
                acquired,
                ..ShownBuffer::without_content()
            },
            others: Vec::new(),
            path: FramePath::Composited,
            why_not_direct: Some("windowed".to_owned()),
            cursor_plane: None,
            why_cursor_drawn: None,
            renderer: Some("software"),
            why_not_gles: None,
            cpu_copied_bytes: 12,
            cpu_read_bytes: 0,
            flipped: Some(Duration::from_nanos(7)),
            sequence: 3,
            framebuffer: None,
            retries: 0,
            retry_cause: None,
            left_out: Vec::new(),
        }
    }

    #[test]
    fn report_with_an_unreleased_buffer_keeps_its_order() {
        let mut report = Report::new(Vec::new());
        report.add(record(1, Some(Duration::ZERO)));
        report.add(record(2, None));
        report.flush();
        assert!(report.to.inner().is_empty());
        report.finish().unwrap();
        let text = String::from_utf8(report.to.into_inner()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!([&lines[0]["frame"], &lines[1]["frame"]], [1, 2]);
        assert_eq!(lines[0]["released_ns"], serde_json::Value::Null);
        assert_eq!(lines[0]["flipped_ns"], 7);
        assert_eq!(lines[0]["path"], "composited");
        assert_eq!(lines[0]["cpu_copied_bytes"], 12);
    }

    #[test]
    fn window_title_with_control_characters_is_printable_json() {
        let mut report = Report::new(Vec::new());
        let mut titled = record(1, None);
        titled.shown.surface = Some("a\u{9b}2J\u{202e}\n{\"frame\":9}".to_owned());
        let title = titled.shown.surface.clone();
        report.add(titled);
        report.finish().unwrap();
        let text = String::from_utf8(report.to.into_inner()).unwrap();
        assert!(
            !text.contains('\u{9b}') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert_eq!(text.lines().count(), 1);
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["surface"].as_str(), title.as_deref());
    }

    #[test]
    fn redraw_without_new_content_has_no_number() {
        let mut report = Report::new(Vec::new());
        report.add(FrameRecord {
            frame: None,
            ..record(0, None)
        });
        report.flush();
        let text = String::from_utf8(report.to.into_inner()).unwrap();
        assert!(!text.contains("\"frame\":"), "{text}");
    }

    #[test]
    fn report_with_a_client_that_keeps_its_buffers_is_bounded() {
        let mut report = Report::new(Vec::new());
        for frame in 0..200 {
            report.add(record(frame, Some(Duration::ZERO)));
            report.flush();
        }
        assert!(report.waiting.len() <= WAITING_MAX);
    }
}
