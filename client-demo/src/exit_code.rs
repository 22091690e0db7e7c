//! Maps errors of cameras, backends and the compositor to exit codes.

use crate::events::{Events, EventsError};
use crate::exit::{Exit, Failure};
use crate::wl_buffers::ImportError;
use anyhow::anyhow;
use covalent_alloc::SystemError;
use covalent_alloc::backend::{BackendError, v4l2};
use rustix::io::Errno;

/// Returns whether an error means that a limit of the process or the machine was reached. Other errors are attributed to the
/// device.
#[must_use]
pub fn is_out_of_resources(error: Errno) -> bool {
    matches!(
        error,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC | Errno::NOBUFS
    )
}

/// Converts an error number to the type that has names for it.
fn errno(error: SystemError) -> Errno {
    Errno::from_raw_os_error(error.raw_os_error())
}

/// Maps an error of a V4L2 device to the failure that the program ends with.
#[must_use]
pub fn camera_failure(error: v4l2::Error) -> Failure {
    Failure::new(camera_exit_code(&error), error)
}

/// Maps an error of a media device to the failure that the program ends with.
#[must_use]
pub fn media_failure(error: v4l2::MediaError) -> Failure {
    use v4l2::MediaError;
    let exit = match &error {
        MediaError::Video(camera) => camera_exit_code(camera),
        MediaError::Busy { .. } | MediaError::BusyPart { .. } => Exit::CameraBusy,
        MediaError::Open { source, .. } if is_out_of_resources(errno(*source)) => Exit::Allocation,
        MediaError::Open { .. } | MediaError::NoMediaDevice { .. } => Exit::NoCamera,
        MediaError::NoPath { .. } | MediaError::NoFormat { .. } => Exit::NoPlan,
        _ => Exit::Unexpected,
    };
    Failure::new(exit, error)
}

/// Returns the exit code for an error of the camera.
fn camera_exit_code(error: &v4l2::Error) -> Exit {
    match error {
        v4l2::Error::Requeue { source, .. } => camera_exit_code(source),
        v4l2::Error::Open { source, .. } if is_out_of_resources(errno(*source)) => Exit::Allocation,
        v4l2::Error::Open { source, .. } if errno(*source) == Errno::BUSY => Exit::CameraBusy,
        v4l2::Error::Busy { .. } => Exit::CameraBusy,
        v4l2::Error::Open { .. } | v4l2::Error::NotVideo { .. } | v4l2::Error::NoQueue { .. } => {
            Exit::NoCamera
        }
        v4l2::Error::Gone { .. } | v4l2::Error::StreamError { .. } => Exit::CameraGone,
        v4l2::Error::Format { .. } | v4l2::Error::NoPixelFormat { .. } => Exit::NoPlan,
        v4l2::Error::TooSmall { .. }
        | v4l2::Error::TooManyDmabufs { .. }
        | v4l2::Error::Count { .. }
        | v4l2::Error::Pool { .. }
        | v4l2::Error::Unusable { .. } => Exit::Allocation,
        v4l2::Error::Request { source, .. } if is_out_of_resources(errno(*source)) => {
            Exit::Allocation
        }
        _ => Exit::Unexpected,
    }
}

/// Maps an error of the connection to the compositor to the failure that the program ends with.
#[must_use]
pub fn compositor_failure(error: EventsError) -> Failure {
    let exit = match error {
        EventsError::Unreachable { .. } => Exit::NoCompositor,
        EventsError::Gone { .. } => Exit::CompositorGone,
        EventsError::NoFileDescriptor { .. } => Exit::Allocation,
        _ => Exit::Unexpected,
    };
    Failure::new(exit, error)
}

/// Returns the failure of a program whose compositor sent protocol data that is not valid; `what` describes the data.
#[must_use]
pub fn invalid_protocol_data(events: &Events, what: &str) -> Failure {
    Failure::new(
        Exit::Unexpected,
        anyhow!(
            "the compositor at {} sent protocol data that is not valid: {what}",
            events.socket()
        ),
    )
}

/// Maps an error of creating `wl_buffer`s to the failure that the program ends with.
#[must_use]
pub fn wl_buffer_failure(error: ImportError) -> Failure {
    match error {
        ImportError::Events(error) => compositor_failure(error),
        ImportError::InvalidData { .. } => Failure::new(Exit::Unexpected, error),
        other => Failure::new(Exit::NoPlan, other),
    }
}

/// Maps an error of an allocation backend to the failure that the program ends with.
#[must_use]
pub fn backend_failure(error: BackendError) -> Failure {
    let exit = match error.cause().downcast_ref::<v4l2::Error>() {
        Some(camera) => camera_exit_code(camera),
        None => Exit::Allocation,
    };
    Failure::new(exit, error)
}

/// Returns the error if it means that a device cannot import this memory. Then a plan with another source may work.
///
/// # Errors
///
/// The failure of [`backend_failure`] if the error has another cause.
pub fn as_import_refusal(error: BackendError) -> Result<BackendError, Failure> {
    let is_refusal = match error.cause().downcast_ref::<v4l2::Error>() {
        Some(v4l2::Error::Request { source, .. }) => matches!(
            errno(*source),
            Errno::FAULT | Errno::INVAL | Errno::IO | Errno::OPNOTSUPP
        ),
        _ => false,
    };
    if is_refusal {
        Ok(error)
    } else {
        Err(backend_failure(error))
    }
}
