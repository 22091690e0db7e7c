//! Transfers buffers to the shadow copy that a virtio-gpu has of each of them.
//!
//! A virtio-gpu that renders (virgl) has its textures on the host, each with backing memory in the guest. A camera or the CPU
//! writes to the guest memory, and the GPU and the display read the texture, so the writer has to request a transfer after each
//! write. A reader must not request it, because it would overwrite what the GPU has rendered, which is only in the texture.
//!
//! ```text
//! camera or CPU ─▶ guest memory ──VIRTGPU_TRANSFER_TO_HOST──▶ texture on the host ─▶ GPU, display
//! ```

use std::os::fd::AsFd;

use drm::buffer::Handle;

use super::card::Card;
use super::{DrmError, sys};
use crate::buffer::Buffer;
use crate::solve::Plan;

/// The shadow copies of some buffers.
///
/// The buffers are imported through a file description of the card that only this value uses, so no other code can close their
/// GEM handles. The handles stay open until this value is dropped.
#[derive(Debug)]
pub struct HostTransfer {
    card: Card,
    textures: Vec<(Handle, (u32, u32))>,
}

impl HostTransfer {
    /// Opens the shadow copies of a plan's buffers; `None` if the device has none.
    ///
    /// # Errors
    /// The errors of [`Card::open`]; [`DrmError::Import`] and [`DrmError::Request`].
    pub fn of(plan: &Plan, buffers: &[Buffer]) -> Result<Option<Self>, DrmError> {
        let allocated = Card::list()
            .into_iter()
            .filter_map(|path| Card::open(&path).ok())
            .find(|card| {
                card.renders_with_implicit_modifiers() && card.texture_id() == *plan.source()
            });
        let Some(allocated) = allocated else {
            return Ok(None);
        };
        let card = match Card::render_node(allocated.path()) {
            Some(node) => Card::open(&node)?,
            None => Card::open(allocated.path())?,
        };
        if let Err(error) = sys::virtgpu_context(&card) {
            // The ioctl fails if the kernel creates the rendering context itself, which it then does at the first import.
            tracing::debug!(%error, "the kernel creates the rendering context itself");
        }
        let mut textures = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let layout = buffer.layout();
            let (Some(fd), extent) = (buffer.dmabuf_fd(0), layout.extent()) else {
                continue;
            };
            let handle = card.import_memory(buffer, fd)?;
            textures.push((handle, (extent.width(), extent.height())));
        }
        Ok(Some(Self { card, textures }))
    }

    /// Requests the transfer of the buffer at `index` to the host, and returns without waiting.
    ///
    /// The kernel adds a fence to the buffer that signals when the transfer has finished, and readers wait for it as for any
    /// other writer. The host copies the pixels, not the CPU of this machine.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn update(&self, index: usize) -> Result<(), DrmError> {
        let Some((handle, size)) = self.textures.get(index) else {
            return Ok(());
        };
        sys::virtgpu_transfer_to_host(self.card.as_fd(), u32::from(*handle), *size)
            .map_err(|error| self.card.failed("VIRTGPU_TRANSFER_TO_HOST", error.into()))
    }
}

impl Drop for HostTransfer {
    fn drop(&mut self) {
        let textures = self.textures.drain(..);
        let handles = textures.map(|(handle, _)| handle).collect();
        self.card.close_each(&self.card.lock_handles(), handles);
    }
}
