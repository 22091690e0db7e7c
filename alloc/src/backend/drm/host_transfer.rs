//! Buffers of which the device keeps a copy of its own.
//!
//! A virtio-gpu that renders (virgl) has its textures on the host, and memory of the guest behind each. What a camera or the
//! processor writes lands in the guest's memory, and GPU and display go on to read the texture: whoever writes has to ask for
//! the copy. It cannot be left to the reader, because a picture that the GPU itself drew is only in the texture, and the same
//! request would overwrite it.

use std::os::fd::AsFd;

use drm::buffer::Handle;

use super::card::Card;
use super::{DrmError, sys};
use crate::buffer::Buffer;
use crate::solve::Plan;

/// The device's copies of some buffers.
///
/// The buffers are imported by a descriptor that nothing else uses, and belong to its rendering context: the handles stay
/// until it is dropped, and no other import can close them.
#[derive(Debug)]
pub struct HostTransfer {
    card: Card,
    pictures: Vec<(Handle, (u32, u32))>,
}

impl HostTransfer {
    /// Finds the copies of a plan's buffers; `None` where the device has none.
    ///
    /// # Errors
    /// Those of [`Card::open`]; [`DrmError::Import`] and [`DrmError::Request`].
    pub fn of(plan: &Plan, buffers: &[Buffer]) -> Result<Option<Self>, DrmError> {
        let allocated = Card::list()
            .into_iter()
            .filter_map(|path| Card::open(&path).ok())
            .find(|card| card.renders_implicitly() && card.texture_id() == *plan.source());
        let Some(allocated) = allocated else {
            return Ok(None);
        };
        let card = match Card::render_node(allocated.path()) {
            Some(node) => Card::open(&node)?,
            None => Card::open(allocated.path())?,
        };
        if let Err(error) = sys::virtgpu_context(&card) {
            // Kernels that know one kind of context make it with the first import.
            tracing::debug!(%error, "the rendering context is left to the kernel");
        }
        let mut pictures = Vec::with_capacity(buffers.len());
        for buffer in buffers {
            let layout = buffer.layout();
            let (Some(fd), extent) = (buffer.dmabuf_fd(0), layout.extent()) else {
                continue;
            };
            let handle = card.import_memory(buffer, fd)?;
            pictures.push((handle, (extent.width(), extent.height())));
        }
        Ok(Some(Self { card, pictures }))
    }

    /// Brings the copy of the buffer at `index` up to date, and returns at once.
    ///
    /// The buffer carries a fence until it is done, which readers wait for as for any other writer. No processor of this
    /// machine touches a pixel.
    ///
    /// # Errors
    /// [`DrmError::Request`].
    pub fn update(&self, index: usize) -> Result<(), DrmError> {
        let Some((handle, size)) = self.pictures.get(index) else {
            return Ok(());
        };
        sys::virtgpu_transfer_to_host(self.card.as_fd(), u32::from(*handle), *size)
            .map_err(|error| self.card.failed("VIRTGPU_TRANSFER_TO_HOST", error.into()))
    }
}

impl Drop for HostTransfer {
    fn drop(&mut self) {
        let pictures = self.pictures.drain(..);
        self.card
            .close_each(pictures.map(|(handle, _)| handle).collect());
    }
}
