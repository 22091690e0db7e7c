//! The steps of an exchange in GBM, whose driver is the OpenGL driver of the same GPU.

use std::fs::OpenOptions;
use std::os::fd::{BorrowedFd, OwnedFd};

use super::message::{Failure, Kind, Plane, SIZE};

mod sys;

pub(super) use sys::Device;

/// The render node that every shim shows.
const NODE: &str = "/dev/dri/renderD128";

/// Opens the GBM device of the process's GPU.
pub(super) fn open() -> Result<Device, Failure> {
    let file = OpenOptions::new().read(true).write(true).open(NODE);
    let file = file.map_err(|error| Failure {
        operation: "open of the render node",
        why: error.to_string(),
    })?;
    Device::new(file.into())
}

/// Allocates an image with exactly this modifier, and exports it.
pub(super) fn export(kind: Kind) -> Result<(Vec<Plane>, OwnedFd), Failure> {
    let device = open()?;
    let image = device.allocate(kind, SIZE)?;
    let chosen = image.modifier();
    if chosen != kind.modifier {
        return Err(Failure {
            operation: "gbm_bo_get_modifier",
            why: format!("the image has the modifier {chosen:#x}"),
        });
    }
    Ok((image.planes(), image.export()?))
}

/// Imports a buffer with exactly this layout.
pub(super) fn import(kind: Kind, planes: &[Plane], fd: BorrowedFd<'_>) -> Result<(), Failure> {
    let device = open()?;
    device.import(kind, SIZE, planes, fd).map(drop)
}
