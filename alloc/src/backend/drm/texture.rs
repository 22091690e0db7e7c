//! Allocates textures of a virtio-gpu that renders, whose backing memory other devices write.

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
                    "a virtio-gpu texture is allocated only in XR24 or AR24",
                ));
            }
        };
        let extent = layout.extent();
        let stride = layout.planes().first().map(|plane| plane.stride_bytes);
        // The host computes the stride from the texture's width. VIRTGPU_RESOURCE_CREATE has no parameter for another stride.
        if stride != extent.width().checked_mul(4) {
            return Err(unsuitable(
                "the stride is not 4 bytes a pixel, and a virtio-gpu texture has no padding",
            ));
        }
        let size_bytes = u32::try_from(layout.total_bytes())
            .map_err(|_| unsuitable("the buffer has 4 GiB or more"))?;
        let size = (extent.width(), extent.height());
        let guard = self.lock_handles();
        let raw = sys::virtgpu_texture(self, format, size, size_bytes)
            .map_err(|error| self.failed("VIRTGPU_RESOURCE_CREATE", error.into()))?;
        let handle =
            from_u32(raw).ok_or_else(|| unsuitable("the kernel returned no GEM handle"))?;
        let exported = self.buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR);
        // The dma-buf keeps the memory, so the GEM handle is closed.
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
