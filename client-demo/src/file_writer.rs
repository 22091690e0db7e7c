//! Writes frames to a file on a thread. If the disk is too slow, frames are missing in the file, and nothing else is delayed.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use covalent_alloc::files::{self, FileError};

/// The maximum number of frames that wait to be written.
const WAITING_FRAMES: usize = 4;

/// Why frames cannot be written to a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file cannot be created.
    #[error(transparent)]
    File(#[from] FileError),
    /// A write to the file failed.
    #[error("writing to {path} failed: {source}; the file has {frames} complete frames", path = path.display())]
    Write {
        /// The path of the file.
        path: PathBuf,
        /// The error of write(2).
        source: std::io::Error,
        /// The number of complete frames in the file.
        frames: u64,
    },
    /// The thread that writes the file cannot be started.
    #[error("no thread can be started to write frames: {0}")]
    Thread(std::io::Error),
    /// The thread panicked; its message is on stderr.
    #[error("the thread that writes frames has failed")]
    Panicked,
}

/// A file that a thread writes frames to.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    /// The channel that sends filled frames to the thread. `None` after [`finish`](Self::finish).
    filled: Option<Sender<Vec<u8>>>,
    /// The channel through which the thread returns the memory of written frames.
    empty: Receiver<Vec<u8>>,
    thread: Option<JoinHandle<Result<(), WriteError>>>,
    sent_frames: u64,
}

impl FileWriter {
    /// Creates the file and starts the thread. An existing file of the same name is replaced at once.
    ///
    /// # Errors
    ///
    /// [`WriteError::File`], [`WriteError::Thread`].
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let file = files::create(path)?;
        let (filled, to_write) = channel();
        let (written, empty) = channel();
        for _ in 0..WAITING_FRAMES {
            // The send cannot fail, because the receiver exists.
            let _ = written.send(Vec::new());
        }
        let own_path = path.to_owned();
        let write = move || write_all(file, own_path, &to_write, &written);
        let thread = std::thread::Builder::new().name("file".to_owned());
        Ok(Self {
            path: path.to_owned(),
            filled: Some(filled),
            empty,
            thread: Some(thread.spawn(write).map_err(WriteError::Thread)?),
            sent_frames: 0,
        })
    }

    /// Returns the path of the file that the frames are written to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of frames that were passed to [`write`](Self::write). The last frames may not be in the file yet. After
    /// a [`WriteError::Write`] it is the number of complete frames in the file.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.sent_frames
    }

    /// Returns memory for the next frame. Returns `None` if the thread has not written the earlier frames yet; then this frame is
    /// lost.
    ///
    /// # Errors
    ///
    /// The [`WriteError`] of an earlier frame.
    pub fn memory(&mut self) -> Result<Option<Vec<u8>>, WriteError> {
        match self.empty.try_recv() {
            Ok(memory) => Ok(Some(memory)),
            Err(TryRecvError::Empty) => Ok(None),
            // The thread has ended, which it does only after an error.
            Err(TryRecvError::Disconnected) => self.finish().map(|()| None),
        }
    }

    /// Passes a frame in memory of [`memory`](Self::memory) to the thread, which writes it.
    ///
    /// # Errors
    ///
    /// The [`WriteError`] of an earlier frame.
    pub fn write(&mut self, frame: Vec<u8>) -> Result<(), WriteError> {
        self.sent_frames = self.sent_frames.saturating_add(1);
        match self.filled.as_ref().map(|filled| filled.send(frame)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => self.finish(),
        }
    }

    /// Waits until every frame is in the file.
    ///
    /// # Errors
    ///
    /// [`WriteError`].
    pub fn finish(&mut self) -> Result<(), WriteError> {
        self.filled = None;
        let result = match self.thread.take() {
            Some(thread) => thread.join().map_err(|_| WriteError::Panicked)?,
            None => Ok(()),
        };
        if let Err(WriteError::Write { frames, .. }) = &result {
            self.sent_frames = *frames;
        }
        result
    }
}

/// Writes all received frames to the file, and sends each back, so that its memory can be used again.
fn write_all(
    mut file: File,
    path: PathBuf,
    to_write: &Receiver<Vec<u8>>,
    written: &Sender<Vec<u8>>,
) -> Result<(), WriteError> {
    let (mut frames, mut bytes) = (0_u64, 0_u64);
    while let Ok(frame) = to_write.recv() {
        if let Err(source) = file.write_all(&frame) {
            // An incomplete frame is cut off: a player would read it as a whole frame, and show all later frames shifted.
            let _ = file.set_len(bytes);
            return Err(WriteError::Write {
                path,
                source,
                frames,
            });
        }
        frames = frames.saturating_add(1);
        bytes = bytes.saturating_add(frame.len().try_into().unwrap_or(u64::MAX));
        // The send fails after the last frame, when the receiver was dropped.
        let _ = written.send(frame);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_written_in_order_and_more_than_can_wait_are_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video");
        let mut writer = FileWriter::create(&path).unwrap();
        let mut expected = Vec::new();
        for byte in 0..100_u8 {
            // The writer's thread may be slower than this loop.
            if let Some(mut frame) = writer.memory().unwrap() {
                frame.clear();
                frame.extend([byte; 3]);
                expected.extend([byte; 3]);
                writer.write(frame).unwrap();
            }
        }
        writer.finish().unwrap();
        assert_eq!(writer.frames() * 3, expected.len() as u64);
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn full_disk_is_reported_with_the_frames_that_are_whole() {
        let (filled, to_write) = channel();
        let (written, _empty) = channel();
        filled.send(vec![0; 4]).unwrap();
        let file = File::options().write(true).open("/dev/full").unwrap();
        let error = write_all(file, "/dev/full".into(), &to_write, &written).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("No space left") && text.contains("0 complete frames"),
            "{text}"
        );
    }
}
