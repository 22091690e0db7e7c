//! Textures of a virtio-gpu that renders, as memory that other devices write.

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
                    "a virtio-gpu texture has the format XR24 or AR24",
                ));
            }
        };
        let extent = layout.extent();
        let stride = layout.planes().first().map(|plane| plane.stride_bytes);
        // The host computes the stride from the texture's width, and no other stride can be passed.
        if stride != extent.width().checked_mul(4) {
            return Err(unsuitable(
                "the rows of a virtio-gpu texture have no padding",
            ));
        }
        let size_bytes = u32::try_from(layout.total_bytes())
            .map_err(|_| unsuitable("it is larger than 4 GiB"))?;
        let size = (extent.width(), extent.height());
        let guard = self.lock_handles();
        let raw = sys::virtgpu_texture(self, format, size, size_bytes)
            .map_err(|error| self.failed("VIRTGPU_RESOURCE_CREATE", error.into()))?;
        let handle =
            from_u32(raw).ok_or_else(|| unsuitable("the kernel returned no GEM handle"))?;
        let exported = self.buffer_to_prime_fd(handle, drm::CLOEXEC | drm::RDWR);
        // The dma-buf keeps the memory, so the handle is not needed any more.
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
