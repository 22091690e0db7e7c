//! The report: one JSON object a presented frame, one line each, in order.
//!
//! A frame shows new content of a client and has a number. The compositor also redraws by itself, when a window ends or the
//! mode changes: such a line has no `frame`.

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
use crate::lines::{LineFile, LostLines};

/// Which way a frame's pixels took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FramePath {
    /// The client's own buffer is on the display.
    Direct,
    /// Clients' buffers were drawn into a buffer of the compositor.
    Composited,
}

/// The buffer that a surface showed in a frame.
#[derive(Clone, Debug, Serialize)]
pub struct ShownBuffer {
    /// Title and application id of the surface's window.
    pub surface: Option<String>,
    /// Process of the client.
    pub client_pid: Option<i32>,
    /// Inode of the dma-buf; null for `wl_shm` buffers.
    pub buffer: Option<u64>,
    /// Format in four letters.
    pub fourcc: Option<String>,
    /// Modifier in words; null for `wl_shm` buffers.
    pub modifier: Option<String>,
    /// Bytes from one row of the first plane to the next.
    pub stride_bytes: Option<u32>,
    /// Width and height in pixels; null for `wl_shm` buffers.
    pub size: Option<Extent>,
    /// Where each plane lies; none for `wl_shm` buffers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub planes: Vec<ShownPlane>,
    /// When the compositor took the buffer: committed, and its fences signalled.
    #[serde(rename = "acquired_ns", serialize_with = "serialize_time")]
    pub acquired: Option<Duration>,
    /// When the buffer went back to its client; null while it has not.
    #[serde(rename = "released_ns", serialize_with = "serialize_release_time")]
    pub released: ReleaseTime,
}

/// Where one plane of a dma-buf lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ShownPlane {
    /// Inode of the dma-buf that it is in.
    pub buffer: u64,
    /// Bytes from its start to the plane.
    pub offset_bytes: u64,
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
}

impl ShownPlane {
    /// Lists the planes of a buffer.
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
    /// Number of the frame, from 1; none when no surface has new content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u64>,
    /// The topmost surface with new content; its fields stand in the record itself.
    #[serde(flatten)]
    pub shown: ShownBuffer,
    /// Further surfaces with new content in the same frame.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<ShownBuffer>,
    /// Which way the pixels took.
    pub path: FramePath,
    /// Why they did not take the direct one.
    pub why_not_direct: Option<String>,
    /// What drew it: `gles` or `software`; null when nothing was drawn.
    pub renderer: Option<&'static str>,
    /// Why the GPU that composes did not draw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not_gles: Option<String>,
    /// How often it was tried before the output took it.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u32,
    /// Why it had to be tried again: the last failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_cause: Option<String>,
    /// Windows with a surface that is missing since its buffer could not be read, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Bytes that the CPU wrote for this frame.
    pub cpu_copied_bytes: u64,
    /// Bytes that the CPU read from dma-bufs for this frame.
    pub cpu_read_bytes: u64,
    /// When the frame was on the display.
    #[serde(rename = "flipped_ns", serialize_with = "serialize_time")]
    pub flipped: Option<Duration>,
    /// The display's count of refreshes; 0 where the card does not count.
    pub sequence: u32,
    /// Kernel's number of the framebuffer; null on a virtual display.
    pub framebuffer: Option<u32>,
}

fn serialize_time<S: serde::Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(nanoseconds).serialize(to)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for a reference
fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn serialize_release_time<S: serde::Serializer>(
    release: &ReleaseTime,
    to: S,
) -> Result<S::Ok, S::Error> {
    serialize_time(&release.get(), to)
}

/// Records kept back at most until their buffer is released.
const WAITING_MAX: usize = 64;

/// Writes records in order of their frames, each once its buffers went back to their clients.
#[derive(Debug)]
pub struct Report<W: Write = File> {
    to: LineFile<W>,
    waiting: VecDeque<FrameRecord>,
}

impl Report {
    /// Makes the file, empty, in the place of what is there. Its owner alone may read it.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        files::create(path).map(Self::new)
    }
}

impl<W: Write> Report<W> {
    /// Writes to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to: LineFile::new("the report", to),
            waiting: VecDeque::new(),
        }
    }

    /// Takes a frame that was presented.
    pub fn add(&mut self, record: FrameRecord) {
        self.waiting.push_back(record);
    }

    /// Writes the records whose buffers are released, a line each, up to the first that is not.
    ///
    /// A client that never replaces its last buffer does not hold up the others for good: when too many wait, its record is
    /// written without the time. What cannot be written is counted: nobody's picture waits for a disk that is full.
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

    /// Writes all that is left.
    ///
    /// # Errors
    ///
    /// When any line since the beginning could not be written.
    pub fn finish(&mut self) -> Result<(), LostLines> {
        for record in std::mem::take(&mut self.waiting) {
            self.write(&record);
        }
        self.to.finish()
    }

    fn write(&mut self, record: &FrameRecord) {
        match serde_json::to_string(record) {
            // Titles are their clients' own, and somebody reads this in a terminal.
            Ok(line) => self.to.write(&printable_json(&line)),
            Err(error) => self.to.count_lost(error.into()),
        }
    }
}

impl ShownBuffer {
    /// A frame in which no surface had new content.
    pub fn nothing() -> Self {
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
            frame: Some(frame),
            shown: ShownBuffer {
                acquired,
                ..ShownBuffer::nothing()
            },
            others: Vec::new(),
            path: FramePath::Composited,
            why_not_direct: Some("windowed".to_owned()),
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
    fn report_keeps_its_order_while_a_buffer_is_not_released() {
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
    fn title_of_a_window_is_printable_json() {
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
    fn report_with_a_client_that_keeps_its_buffers_stays_small() {
        let mut report = Report::new(Vec::new());
        for frame in 0..200 {
            report.add(record(frame, Some(Duration::ZERO)));
            report.flush();
        }
        assert!(report.waiting.len() <= WAITING_MAX);
    }
}
