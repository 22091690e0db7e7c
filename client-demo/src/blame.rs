//! Which exit status each error of camera and compositor ends in.

use crate::events::{Events, EventsError};
use crate::exit::{Exit, Failure};
use crate::offers::OffersError;
use anyhow::anyhow;
use covalent_alloc::backend::{BackendError, v4l2};
use rustix::io::Errno;

/// Errors that a process's or the machine's limits cause rather than the devices.
#[must_use]
pub fn is_scarcity(error: Errno) -> bool {
    matches!(
        error,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOSPC | Errno::NOBUFS
    )
}

/// Ends because of the camera.
#[must_use]
pub fn camera(error: v4l2::Error) -> Failure {
    Failure::new(camera_exit(&error), error)
}

fn camera_exit(error: &v4l2::Error) -> Exit {
    match error {
        v4l2::Error::Requeue { source, .. } => camera_exit(source),
        v4l2::Error::Open { source, .. } if is_scarcity(*source) => Exit::Allocation,
        v4l2::Error::Open {
            source: Errno::BUSY,
            ..
        }
        | v4l2::Error::Busy { .. } => Exit::CameraBusy,
        v4l2::Error::Open { .. } | v4l2::Error::NotVideo { .. } | v4l2::Error::NoQueue { .. } => {
            Exit::NoCamera
        }
        v4l2::Error::Gone { .. } => Exit::CameraGone,
        v4l2::Error::Format { .. } | v4l2::Error::Unsayable { .. } => Exit::NoPlan,
        v4l2::Error::TooSmall { .. }
        | v4l2::Error::Memories { .. }
        | v4l2::Error::Count { .. }
        | v4l2::Error::Unusable { .. } => Exit::Allocation,
        v4l2::Error::Request { source, .. } if is_scarcity(*source) => Exit::Allocation,
        _ => Exit::Unexpected,
    }
}

/// Ends because of the compositor.
#[must_use]
pub fn compositor(error: EventsError) -> Failure {
    let exit = match error {
        EventsError::Unreachable { .. } => Exit::NoCompositor,
        EventsError::Gone { .. } => Exit::CompositorGone,
        EventsError::Scarce { .. } => Exit::Allocation,
        _ => Exit::Unexpected,
    };
    Failure::new(exit, error)
}

/// Ends because the compositor sent what cannot be true.
#[must_use]
pub fn insane(events: &Events, what: &str) -> Failure {
    Failure::new(
        Exit::Unexpected,
        anyhow!("the compositor at {} is not sane: {what}", events.place()),
    )
}

/// Ends because the compositor could not be asked to take the buffers.
#[must_use]
pub fn offers(error: OffersError) -> Failure {
    match error {
        OffersError::Events(error) => compositor(error),
        OffersError::Nonsense { .. } => Failure::new(Exit::Unexpected, error),
        other => Failure::new(Exit::NoPlan, other),
    }
}

/// Ends because a backend failed.
#[must_use]
pub fn backend(error: BackendError) -> Failure {
    let exit = match error.cause().downcast_ref::<v4l2::Error>() {
        Some(camera) => camera_exit(camera),
        None => Exit::Allocation,
    };
    Failure::new(exit, error)
}

/// Tells a device's refusals of memory, after which other memory may serve, from errors that have nothing to do with it.
///
/// # Errors
///
/// Ends because of the device, as [`backend`] does.
pub fn refusal(error: BackendError) -> Result<BackendError, Failure> {
    let is_refusal = match error.cause().downcast_ref::<v4l2::Error>() {
        Some(v4l2::Error::Request { source, .. }) => matches!(
            *source,
            Errno::FAULT | Errno::INVAL | Errno::IO | Errno::OPNOTSUPP
        ),
        _ => false,
    };
    if is_refusal {
        Ok(error)
    } else {
        Err(backend(error))
    }
}
