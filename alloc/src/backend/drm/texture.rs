//! Textures of a virtio-gpu that renders, as memory for others to write.

use drm::control::{Device as _, from_u32};

use super::card::Card;
use super::{DrmError, sys};
use crate::buffer::Buffer;
use crate::model::Fourcc;
use crate::solve::Plan;

impl Card {
    pub(super) fn allocate_texture(&self, plan: &Plan) -> Result<Buffer, DrmError> {
        let layout = plan.layout();
        let unsuitable = |why| DrmError::Unsuitable {
            card: self.path().to_owned(),
            format: layout.format(),
            why,
        };
        let format = match layout.format().fourcc {
            Fourcc::XRGB8888 => sys::VIRGL_XRGB8888,
            Fourcc::ARGB8888 => sys::VIRGL_ARGB8888,
            _ => {
                return Err(unsuitable(
                    "it is no format of a texture that is known here",
                ));
            }
        };
        let extent = layout.extent();
        let stride = layout.planes().first().map(|plane| plane.stride_bytes);
        // The host counts rows by the texture's own width, and cannot be told another stride.
        if stride != extent.width().checked_mul(4) {
            return Err(unsuitable(
                "a texture's rows follow one another without a gap",
            ));
        }
        let size_bytes =
            u32::try_from(layout.total_bytes()).map_err(|_| unsuitable("it is too large"))?;
        let size = (extent.width(), extent.height());
        let guard = self.lock_handles();
        let raw = sys::virtgpu_texture(self, format, size, size_bytes)
            .map_err(|error| self.failed("VIRTGPU_RESOURCE_CREATE", error.into()))?;
        let handle = from_u32(raw).ok_or_else(|| unsuitable("the kernel gave no handle"))?;
        let exported = self.buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR);
        // The dma-buf keeps the memory; the handle is of no more use.
        let closed = self.close_buffer(handle);
        drop(guard);
        let fd = exported.map_err(|source| self.failed("PRIME_HANDLE_TO_FD", source))?;
        closed.map_err(|source| self.failed("GEM_CLOSE", source))?;
        Buffer::assemble(layout, vec![fd], &self.texture_name()).map_err(|error| {
            DrmError::Unusable {
                card: self.path().to_owned(),
                why: error.to_string(),
            }
        })
    }
}
