//! A swapchain that the program allocates itself: the buffers of one plan, as render targets of the device and as `wl_buffer`s of
//! the compositor.
//!
//! A buffer has an index in its swapchain, and a number that is unique in the program. The compositor's events are stored with
//! the number, so that the program does not attribute a late event of a retired swapchain to the current one.

use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Layout;
use covalent_alloc::solve::Plan;
use covalent_alloc::sync::{Accessor, SyncPoint};
use covalent_client_demo::buffers::{BeginWrite, Buffers, HandOverError, Holder};
use covalent_client_demo::frame_trace::FrameTrace;
use covalent_client_demo::shm_copy::{COPIED, CopyError, ShmCopy};
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::render::Target;

/// The buffers of one plan.
#[derive(Debug)]
pub(crate) struct Swapchain {
    /// The number of the swapchain's first buffer.
    first_number: usize,
    pub(crate) plan: Plan,
    /// What the compositor does with the buffers, as a phrase for messages.
    pub(crate) usage_label: String,
    buffers: Vec<Buffer>,
    targets: Vec<Target>,
    wl_buffers: Vec<Option<WlBuffer>>,
    /// The `wl_shm` buffers into which the frames are copied: one for each buffer, with the same index. `None` where the
    /// compositor reads the buffers themselves.
    shm_copy: Option<Box<ShmCopy>>,
    holders: Buffers,
    pub(crate) copies: Option<HostTransfer>,
    pub(crate) frame_trace: FrameTrace,
    /// Whether a frame of this swapchain was committed.
    pub(crate) was_shown: bool,
}

impl Drop for Swapchain {
    fn drop(&mut self) {
        for wl_buffer in self.wl_buffers.iter().flatten() {
            wl_buffer.destroy();
        }
    }
}

impl Swapchain {
    /// Creates a swapchain whose buffers are numbered from `first_number`. Its `wl_buffer`s are added later by
    /// [`Swapchain::set_wl_buffer`].
    pub(crate) fn new(
        first_number: usize,
        plan: Plan,
        usage_label: String,
        buffers: Vec<Buffer>,
        targets: Vec<Target>,
        copies: Option<HostTransfer>,
        device: Accessor,
    ) -> Self {
        Self {
            first_number,
            plan,
            usage_label,
            wl_buffers: vec![None; buffers.len()],
            shm_copy: None,
            frame_trace: FrameTrace::new("covalent-vulkan", device.name(), &buffers),
            holders: Buffers::new(buffers.len(), device),
            buffers,
            targets,
            copies,
            was_shown: false,
        }
    }

    /// Returns the index of the buffer with this number; `None` if another swapchain has the buffer.
    pub(crate) fn index_of(&self, number: usize) -> Option<usize> {
        number
            .checked_sub(self.first_number)
            .filter(|index| *index < self.buffers.len())
    }

    /// Returns the numbers of the buffers of this swapchain.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        self.first_number..self.first_number.saturating_add(self.buffers.len())
    }

    /// Returns the number of the buffer at `index`.
    pub(crate) fn number(&self, index: usize) -> usize {
        self.first_number.saturating_add(index)
    }

    /// Stores the `wl_buffer` of the buffer at `index`. Returns whether every buffer has its `wl_buffer` now.
    pub(crate) fn set_wl_buffer(&mut self, index: usize, wl_buffer: WlBuffer) -> bool {
        match self.wl_buffers.get_mut(index) {
            Some(known) => *known = Some(wl_buffer),
            None => wl_buffer.destroy(),
        }
        self.wl_buffers.iter().all(Option::is_some)
    }

    /// Returns the dma-bufs of the swapchain, by index.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Returns the dma-buf of the buffer at `index`.
    pub(crate) fn buffer(&self, index: usize) -> Option<&Buffer> {
        self.buffers.get(index)
    }

    /// Returns the render target of the buffer at `index`.
    pub(crate) fn target(&self, index: usize) -> Option<&Target> {
        self.targets.get(index)
    }

    /// Returns the `wl_buffer` to commit for the buffer at `index`.
    pub(crate) fn wl_buffer(&self, index: usize) -> Option<&WlBuffer> {
        match &self.shm_copy {
            Some(shm_copy) => shm_copy.wl_buffer(index),
            None => self.wl_buffers.get(index)?.as_ref(),
        }
    }

    /// Returns whether the plan is for frames that are copied to `wl_shm` buffers.
    pub(crate) fn is_copied(&self) -> bool {
        self.usage_label == COPIED
    }

    /// Sets the `wl_shm` buffers into which the frames are copied.
    pub(crate) fn set_shm_copy(&mut self, shm_copy: ShmCopy) {
        self.shm_copy = Some(Box::new(shm_copy));
    }

    /// Copies the frame in the buffer at `index`, whose rendering is complete, to its `wl_shm` buffer. Returns the number of
    /// bytes that were written to shared memory: none where the compositor reads the buffers themselves.
    pub(crate) fn copy_to_shm(&mut self, index: usize) -> Result<u64, CopyError> {
        let Some(shm_copy) = &mut self.shm_copy else {
            return Ok(0);
        };
        shm_copy.copy(index, index)?;
        Ok(shm_copy.frame_bytes())
    }

    /// Returns the layout with which the buffers were allocated.
    pub(crate) fn layout(&self) -> &Layout {
        self.buffers
            .first()
            .map_or_else(|| self.plan.layout(), Buffer::layout)
    }

    /// Returns width and height of the picture in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let extent = self.layout().visible().extent();
        (extent.width(), extent.height())
    }

    /// Returns the index of a buffer that neither the device nor the compositor uses.
    pub(crate) fn free_index(&self) -> Option<usize> {
        self.holders.free()
    }

    /// Records that the device renders to the buffer at `index`, or returns the fence that has to be waited for first.
    pub(crate) fn begin_render(&mut self, index: usize) -> Result<BeginWrite, HandOverError> {
        self.holders.begin_write(index)
    }

    /// Records that the fence that [`Swapchain::begin_render`] returned is signalled.
    pub(crate) fn wait_finished(&mut self, index: usize) {
        self.holders.wait_finished(index);
    }

    /// Records that a buffer is committed. `drawn` is the fence of the rendering; with `None` the rendering is complete.
    /// `release_point` is the release point of the commit, if it has one.
    pub(crate) fn commit(
        &mut self,
        index: usize,
        drawn: Option<SyncPoint>,
        release_point: Option<SyncPoint>,
    ) -> Result<(), HandOverError> {
        self.holders.end_write(index, drawn)?;
        self.holders.show(index, release_point).map(|_| ())
    }

    /// Records that the compositor released the buffer at `index`.
    pub(crate) fn released(&mut self, index: usize) -> Result<(), HandOverError> {
        // The compositor never reads a buffer whose frames are copied, so that buffer has no fence of the compositor.
        let buffer = self.buffers.get(index).filter(|_| !self.is_copied());
        self.holders.released(index, buffer)
    }

    /// Returns how often the program waited for the fences of a buffer that the compositor had released.
    pub(crate) fn waits(&self) -> u64 {
        self.holders.waits()
    }

    /// Returns whether neither the device nor the compositor uses any buffer of this swapchain.
    pub(crate) fn is_idle(&self) -> bool {
        self.holders.held_by(Holder::Client) == self.buffers.len()
    }
}
