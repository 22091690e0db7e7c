//! The frames of a camera: its own buffers, or pictures that a thread makes of them.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use covalent_alloc::backend::v4l2::{FrameInfo, Stream};

use crate::converted_camera::{ConversionError, ConvertedCamera};
use crate::exit::Failure;
use crate::exit_code;

/// The frames of a camera.
#[derive(Debug)]
pub enum CameraStream {
    /// The camera writes the buffers that are shown.
    Direct(Stream),
    /// A thread converts the camera's frames to pictures.
    Converted(Box<ConvertedCamera>),
}

/// A frame that can be shown.
#[derive(Clone, Copy, Debug)]
pub struct Captured {
    /// The frame. Its index is that of the buffer that is shown.
    pub info: FrameInfo,
    /// The number of frames that the camera has captured since the last one, and that were lost because their conversion was too
    /// slow.
    pub lost: u32,
}

impl AsFd for CameraStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Direct(stream) => stream.as_fd(),
            Self::Converted(camera) => camera.as_fd(),
        }
    }
}

impl CameraStream {
    /// Starts the stream.
    ///
    /// # Errors
    ///
    /// The failure of the camera.
    pub fn start(&mut self) -> Result<(), Failure> {
        match self {
            Self::Direct(stream) => stream.start().map_err(exit_code::camera_failure),
            Self::Converted(camera) => camera.start().map_err(failure),
        }
    }

    /// Takes a frame; `None` if none is ready.
    ///
    /// # Errors
    ///
    /// The failure of the camera or of the conversion.
    pub fn dequeue(&mut self) -> Result<Option<Captured>, Failure> {
        match self {
            Self::Direct(stream) => {
                let info = stream.dequeue().map_err(exit_code::camera_failure)?;
                Ok(info.map(|info| Captured { info, lost: 0 }))
            }
            Self::Converted(camera) => {
                let taken = camera.dequeue().map_err(failure)?;
                Ok(taken.map(|(info, lost)| Captured { info, lost }))
            }
        }
    }

    /// Gives a buffer back, into which a later frame is written.
    ///
    /// # Errors
    ///
    /// The failure of the camera or of the conversion.
    pub fn queue(&mut self, index: usize) -> Result<(), Failure> {
        match self {
            Self::Direct(stream) => stream.queue(index).map_err(exit_code::camera_failure),
            Self::Converted(camera) => camera.give_back(index).map_err(failure),
        }
    }

    /// Returns when the camera delivered its last frame to a conversion, including frames that cannot be shown; `None` without a
    /// conversion or a frame.
    #[must_use]
    pub fn last_converted(&self) -> Option<Instant> {
        match self {
            Self::Direct(_) => None,
            Self::Converted(camera) => camera.last_frame(),
        }
    }

    /// Returns the number of buffers from which the camera can choose for its next frame.
    #[must_use]
    pub fn queued_count(&self) -> usize {
        match self {
            Self::Direct(stream) => stream.queued_count(),
            Self::Converted(camera) => camera.queued_count(),
        }
    }
}

fn failure(error: ConversionError) -> Failure {
    match error {
        ConversionError::Camera(error) => exit_code::camera_failure(error),
        other => Failure::unexpected(other),
    }
}
