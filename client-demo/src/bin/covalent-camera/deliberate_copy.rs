//! A deliberate CPU read of every frame. This module is compiled only to check the test of copied bytes, which has to fail with
//! it.

use anyhow::anyhow;
use covalent_alloc::buffer::CpuAccess;
use covalent_client_demo::exit::{Exit, Failure};

use crate::camera_buffers::CameraBuffers;

/// Reads a whole frame through a CPU mapping.
pub(crate) fn read_frame(camera_buffers: &CameraBuffers, index: usize) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Unexpected, anyhow::Error::from(error));
    let buffer = camera_buffers
        .buffers()
        .get(index)
        .ok_or_else(|| Failure::new(Exit::Unexpected, anyhow!("buffer {index} does not exist")))?;
    let mapping = buffer.map().map_err(failed)?;
    let guard = mapping.access(CpuAccess::Read).map_err(failed)?;
    for (plane, place) in buffer.layout().planes().iter().enumerate() {
        let bytes = usize::try_from(place.size_bytes).unwrap_or_default();
        guard.read(plane, 0, &mut vec![0; bytes]).map_err(failed)?;
    }
    Ok(())
}
