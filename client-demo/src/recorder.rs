//! Records the frames of a stream to a file as raw pixels. The frame is copied immediately, and a thread writes the copy to the
//! file.
//!
//! A frame in the file consists of its rows without padding, one plane after the other, as in ffmpeg's `rawvideo` and
//! `v4l2-ctl --stream-to`. If the disk is too slow, frames are missing in the file. They are counted, and nothing else is
//! delayed.

use std::path::Path;

use covalent_alloc::buffer::{AccessError, Buffer, CpuAccess};
use covalent_alloc::model::{Fourcc, Layout};
use serde::Serialize;

use crate::file_writer::{FileWriter, WriteError};

/// Why frames cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A frame cannot be read.
    #[error("a frame cannot be read for the recording: {0}")]
    Access(#[from] AccessError),
    /// The format has no rows, so the frames cannot be recorded.
    #[error(
        "frames of {0} have no rows and cannot be recorded; choose another format with --format"
    )]
    Layout(Fourcc),
    /// The file cannot be created or written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The report of a recording.
#[derive(Clone, Debug, Serialize)]
pub struct Recording {
    /// The path of the file.
    file: String,
    /// The number of frames in the file. While the stream runs, the last frames may not be written yet.
    frames: u64,
    /// The number of frames that were shown and are not in the file, because the disk was too slow.
    lost: u64,
    /// The size of one frame in bytes.
    bytes_per_frame: u64,
}

/// Records a stream to a file.
#[derive(Debug)]
pub struct Recorder {
    writer: FileWriter,
    lost: u64,
    bytes_per_frame: u64,
}

impl Recorder {
    /// Creates the file. An existing file of the same name is replaced at once.
    ///
    /// # Errors
    ///
    /// [`RecordError::Write`].
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        Ok(Self {
            writer: FileWriter::create(path)?,
            lost: 0,
            bytes_per_frame: 0,
        })
    }

    /// Records the frame in a buffer. The frame is lost if the earlier frames are not written yet.
    ///
    /// # Errors
    ///
    /// [`RecordError`] of this frame or of an earlier one.
    pub fn frame(&mut self, buffer: &Buffer) -> Result<(), RecordError> {
        let Some(mut bytes) = self.writer.memory()? else {
            self.lost = self.lost.saturating_add(1);
            return Ok(());
        };
        read(buffer, &mut bytes)?;
        self.bytes_per_frame = bytes.len().try_into().unwrap_or(u64::MAX);
        Ok(self.writer.write(bytes)?)
    }

    /// Waits until every frame is written.
    ///
    /// # Errors
    ///
    /// [`RecordError::Write`].
    pub fn finish(&mut self) -> Result<(), RecordError> {
        Ok(self.writer.finish()?)
    }

    /// Returns the report on the frames that were recorded so far.
    #[must_use]
    pub fn recording(&self) -> Recording {
        Recording {
            file: self.writer.path().display().to_string(),
            frames: self.writer.frames(),
            lost: self.lost,
            bytes_per_frame: self.bytes_per_frame,
        }
    }
}

/// Returns the ffplay command that shows a recording of this layout; `None` if ffplay has no name for the format.
#[must_use]
pub fn play_command(layout: &Layout, path: &Path) -> Option<String> {
    let name = match layout.format().fourcc {
        Fourcc::XRGB8888 => "bgr0",
        Fourcc::ARGB8888 => "bgra",
        Fourcc::XBGR8888 => "rgb0",
        Fourcc::ABGR8888 => "rgba",
        Fourcc::RGB565 => "rgb565le",
        Fourcc::NV12 => "nv12",
        Fourcc::NV21 => "nv21",
        Fourcc::NV16 => "nv16",
        Fourcc::YUV420 => "yuv420p",
        Fourcc::YUYV => "yuyv422",
        Fourcc::UYVY => "uyvy422",
        _ => return None,
    };
    let extent = layout.visible().extent();
    let path = covalent_alloc::text::printable_path(path);
    Some(format!(
        "ffplay -f rawvideo -pixel_format {name} -video_size {extent} {path}"
    ))
}

/// Reads the visible rectangle of a frame: its rows without padding, one plane after the other.
fn read(buffer: &Buffer, into: &mut Vec<u8>) -> Result<(), RecordError> {
    let layout = buffer.layout();
    let format = layout.format().fourcc;
    let planes = format.info().map_or(0, |info| info.planes.len());
    let mapping = buffer.map()?;
    let guard = mapping.access(CpuAccess::Read)?;
    let mut filled = 0_usize;
    for plane in 0..planes {
        let visible = layout
            .visible_bytes(plane)
            .ok_or(RecordError::Layout(format))?;
        let row_bytes = usize::try_from(visible.row_bytes).unwrap_or(usize::MAX);
        for row in visible.first_row..visible.first_row.saturating_add(visible.rows) {
            let end = filled.saturating_add(row_bytes);
            if into.len() < end {
                into.resize(end, 0);
            }
            let Some(bytes) = into.get_mut(filled..end) else {
                return Err(RecordError::Layout(format));
            };
            guard.read_row(plane, row, visible.first_byte.into(), bytes)?;
            filled = end;
        }
    }
    if filled == 0 {
        return Err(RecordError::Layout(format));
    }
    into.truncate(filled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use covalent_alloc::model::{Extent, FormatModifier, PlaneLayout};

    use super::*;

    #[test]
    fn play_command_names_ffmpegs_format() {
        let plane = PlaneLayout {
            memory: 0,
            offset_bytes: 0,
            stride_bytes: 256,
            size_bytes: 256 * 4,
        };
        let layout = |fourcc| {
            let extent = Extent::new(64, 4).unwrap();
            let format = FormatModifier::linear(fourcc);
            Layout::new(extent, format, vec![plane], vec![1024]).unwrap()
        };
        let command = play_command(&layout(Fourcc::XRGB8888), Path::new("/tmp/a")).unwrap();
        assert_eq!(
            command,
            "ffplay -f rawvideo -pixel_format bgr0 -video_size 64x4 /tmp/a"
        );
        let deep = layout(Fourcc::XRGB2101010);
        assert_eq!(play_command(&deep, Path::new("a")), None);
    }
}
