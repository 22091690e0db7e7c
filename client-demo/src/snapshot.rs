//! Writes a frame to a PNG file. The frame is read immediately, and a thread compresses and writes it.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use covalent_alloc::backend::v4l2::Colours;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::files::{self, FileError};

use crate::xrgb::PIXEL_BYTES;
use crate::xrgb_reader::{ReadError, XrgbReader};

/// Why a snapshot cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The frame cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The picture cannot be compressed.
    #[error("the picture cannot be written as PNG: {0}")]
    Encode(#[from] png::EncodingError),
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The thread cannot be started.
    #[error("no thread can be started to write the picture: {0}")]
    Thread(std::io::Error),
    /// The thread panicked; its message is on stderr.
    #[error("the thread that writes the picture has failed")]
    Panicked,
}

/// Writes snapshots of a stream. After each request the next frame replaces the contents of the file.
#[derive(Debug)]
pub struct Snapshots {
    path: PathBuf,
    is_requested: bool,
    writer: Option<JoinHandle<Result<(), SnapshotError>>>,
}

impl Snapshots {
    /// Prepares snapshots in a file, and requests the first one.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::File`] if the file cannot be created.
    pub fn new(path: &Path) -> Result<Self, SnapshotError> {
        files::check(path)?;
        Ok(Self {
            path: path.to_owned(),
            is_requested: true,
            writer: None,
        })
    }

    /// Requests a snapshot of the next frame.
    pub fn request(&mut self) {
        self.is_requested = true;
    }

    /// Writes the frame if a snapshot was requested. While the previous snapshot is being written, the request stays pending.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] of this snapshot or of the previous one.
    pub fn frame(&mut self, buffer: &Buffer, colours: Colours) -> Result<(), SnapshotError> {
        let is_busy = self
            .writer
            .as_ref()
            .is_some_and(|writer| !writer.is_finished());
        if !self.is_requested || is_busy {
            return Ok(());
        }
        self.finish()?;
        self.is_requested = false;
        let pixels = read_rgb(buffer, colours)?;
        let extent = buffer.layout().visible().extent();
        let path = self.path.clone();
        let write = move || write_png(&path, (extent.width(), extent.height()), &pixels);
        let writer = std::thread::Builder::new().name("snapshot".to_owned());
        self.writer = Some(writer.spawn(write).map_err(SnapshotError::Thread)?);
        Ok(())
    }

    /// Waits until the last snapshot is written.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`].
    pub fn finish(&mut self) -> Result<(), SnapshotError> {
        self.writer.take().map_or(Ok(()), |writer| {
            writer.join().map_err(|_| SnapshotError::Panicked)?
        })
    }
}

/// Reads the picture of a buffer as red, green and blue.
fn read_rgb(buffer: &Buffer, colours: Colours) -> Result<Vec<u8>, ReadError> {
    let mapping = buffer.map()?;
    let mut reader = XrgbReader::new(buffer.layout(), colours)?;
    let mut rgb = Vec::new();
    reader.read::<ReadError>(&mapping, |rows| {
        for pixel in rows.chunks_exact(PIXEL_BYTES) {
            if let [blue, green, red, _] = *pixel {
                rgb.extend([red, green, blue]);
            }
        }
        Ok(())
    })?;
    Ok(rgb)
}

/// Writes pixels with three bytes each as a PNG file.
fn write_png(path: &Path, (width, height): (u32, u32), rgb: &[u8]) -> Result<(), SnapshotError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(files::replace(path, &file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_is_written_and_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        for red in [7, 200] {
            let rgb = [red, 1, 2, 3, 4, 5];
            write_png(&path, (2, 1), &rgb).unwrap();
            let file = std::io::BufReader::new(std::fs::File::open(&path).unwrap());
            let mut reader = png::Decoder::new(file).read_info().unwrap();
            let mut found = vec![0; 6];
            reader.next_frame(&mut found).unwrap();
            assert_eq!(found, rgb);
        }
    }

    #[test]
    fn file_that_must_stay_is_refused_before_the_first_frame() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Snapshots::new(folder.path()).is_err());
        assert!(Snapshots::new(&folder.path().join("none/picture.png")).is_err());
        let mut snapshots = Snapshots::new(&folder.path().join("picture.png")).unwrap();
        assert!(snapshots.is_requested);
        assert!(snapshots.finish().is_ok());
    }
}
