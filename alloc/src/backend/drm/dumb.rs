//! Dumb buffers: memory that a card allocates and can scan out.

use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::Device as _;

use super::DrmError;
use super::card::Card;
use crate::backend::meminfo;
use crate::buffer::Buffer;
use crate::model::Layout;
use crate::solve::Plan;

impl Card {
    /// Allocates the dumb buffers, or the textures, of a plan.
    ///
    /// The kernel chooses the stride of a dumb buffer. If that differs from the planned stride, every participant must accept it.
    ///
    /// # Errors
    /// [`DrmError::NotPlanned`] for a plan of another source, [`DrmError::Budget`] if the memory available on the machine is not
    /// sufficient, [`DrmError::Allocated`] if the participants do not accept the kernel's stride, [`DrmError::Request`]. After an
    /// error nothing stays allocated.
    pub fn allocate(&self, plan: &Plan) -> Result<Vec<Buffer>, DrmError> {
        let textures = *plan.source() == self.texture_id();
        if *plan.source() != self.dumb_id() && !textures {
            return Err(DrmError::NotPlanned {
                card: self.path().to_owned(),
                planned: plan.source_name().to_owned(),
            });
        }
        if let Some(short) = meminfo::shortage(plan) {
            return Err(DrmError::Budget {
                card: self.path().to_owned(),
                needed_bytes: short.needed_bytes,
                available_bytes: short.available_bytes,
            });
        }
        (0..plan.count())
            .map(|_| {
                if textures {
                    self.allocate_texture(plan)
                } else {
                    self.allocate_one(plan)
                }
            })
            .collect()
    }

    fn allocate_one(&self, plan: &Plan) -> Result<Buffer, DrmError> {
        /// Every card supports dumb buffers of 32 bits a pixel, and virtio-gpu supports no others.
        const PIXEL_BYTES: u32 = 4;
        let layout = plan.layout();
        let fourcc = layout.format().fourcc;
        let unsuitable = |why| DrmError::Unsuitable {
            card: self.path().to_owned(),
            format: layout.format(),
            why,
        };
        let stride = layout
            .planes()
            .first()
            .map(|plane| plane.stride_bytes)
            .filter(|stride| *stride > 0)
            .ok_or_else(|| {
                unsuitable("the layout has no stride, and a dumb buffer consists of rows")
            })?;
        let &[total] = layout.memory_sizes() else {
            return Err(unsuitable(
                "the layout has several dma-bufs, and a dumb buffer is one dma-buf",
            ));
        };
        // All planes are in one dumb buffer, one after another. Its height is the number of rows, with the first plane's stride,
        // that hold all planes.
        let rows = u32::try_from(total.div_ceil(u64::from(stride).max(1)))
            .map_err(|_| unsuitable("a dumb buffer of this size has too many rows"))?;
        let width = stride
            .checked_div(PIXEL_BYTES)
            .filter(|_| stride.checked_rem(PIXEL_BYTES) == Some(0))
            .ok_or_else(|| unsuitable("the stride is not a multiple of 4 bytes"))?;
        let guard = self.lock_handles();
        let dumb = self
            .create_dumb_buffer((width, rows), DrmFourcc::Xrgb8888, 32)
            .map_err(|source| self.failed("CREATE_DUMB", source))?;
        let actual_stride = dumb.pitch();
        let exported = self.buffer_to_prime_fd(dumb.handle(), drm::CLOEXEC | drm::RDWR);
        // The dma-buf keeps the memory, so the GEM handle is closed.
        let destroyed = self.destroy_dumb_buffer(dumb);
        drop(guard);
        let fd = exported.map_err(|source| self.failed("PRIME_HANDLE_TO_FD", source))?;
        destroyed.map_err(|source| self.failed("DESTROY_DUMB", source))?;
        let actual = if actual_stride == stride {
            layout.clone()
        } else {
            let allocated = |why: String| DrmError::Allocated {
                card: self.path().to_owned(),
                fourcc,
                planned: stride,
                found: actual_stride,
                why,
            };
            let other = Layout::linear(layout.extent(), fourcc, 1, actual_stride)
                .and_then(|other| other.with_visible(layout.visible()))
                .map_err(|error| allocated(error.to_string()))?;
            plan.accepts(&other)
                .map_err(|error| allocated(error.to_string()))?;
            other
        };
        Buffer::assemble(&actual, vec![fd], &self.dumb_name()).map_err(|error| DrmError::Unusable {
            card: self.path().to_owned(),
            why: error.to_string(),
        })
    }

    /// Returns the name of the dumb-buffer source in messages, such as `virtio_gpu dumb`.
    #[must_use]
    pub(crate) fn dumb_name(&self) -> String {
        format!("{} dumb", self.driver())
    }
}
