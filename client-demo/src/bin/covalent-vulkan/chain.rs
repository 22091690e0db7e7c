//! A swapchain of the program's own: the buffers of one plan, as this device draws to them and as the compositor shows them.
//!
//! Buffers are numbered through all chains of a program, so that what the compositor says of one that is on its way out is not
//! taken for one of the next.

use covalent_alloc::backend::drm::HostCopies;
use covalent_alloc::buffer::Buffer;
use covalent_alloc::model::Layout;
use covalent_alloc::solve::Plan;
use covalent_alloc::sync::{Behind, Party};
use covalent_client_demo::buffers::{Buffers, HandOverError, Holder, Produce};
use covalent_client_demo::frame_trace::FrameTrace;
use wayland_client::protocol::wl_buffer::WlBuffer;

use crate::render::Target;

/// The buffers of one plan.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Number of the first buffer.
    first: usize,
    pub(crate) plan: Plan,
    /// What the compositor would do with the buffers, in words.
    pub(crate) usage_label: String,
    buffers: Vec<Buffer>,
    targets: Vec<Target>,
    wl_buffers: Vec<Option<WlBuffer>>,
    holders: Buffers,
    pub(crate) copies: Option<HostCopies>,
    pub(crate) frame_trace: FrameTrace,
    /// Whether it is the one that frames are drawn to.
    pub(crate) was_shown: bool,
}

impl Drop for Chain {
    fn drop(&mut self) {
        for wl_buffer in self.wl_buffers.iter().flatten() {
            wl_buffer.destroy();
        }
    }
}

impl Chain {
    /// Puts the parts together; the buffers are numbered from `first`, and the compositor has yet to take them.
    pub(crate) fn new(
        first: usize,
        plan: Plan,
        usage_label: String,
        buffers: Vec<Buffer>,
        targets: Vec<Target>,
        copies: Option<HostCopies>,
        device: Party,
    ) -> Self {
        Self {
            first,
            plan,
            usage_label,
            wl_buffers: vec![None; buffers.len()],
            frame_trace: FrameTrace::new("covalent-vulkan", device.name(), &buffers),
            holders: Buffers::new(buffers.len(), device),
            buffers,
            targets,
            copies,
            was_shown: false,
        }
    }

    /// Where the buffer of a number stands; `None` where it is of another chain.
    pub(crate) fn place(&self, number: usize) -> Option<usize> {
        number
            .checked_sub(self.first)
            .filter(|place| *place < self.buffers.len())
    }

    /// The numbers of its buffers.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        self.first..self.first.saturating_add(self.buffers.len())
    }

    /// The number of the buffer at a place.
    pub(crate) fn number(&self, place: usize) -> usize {
        self.first.saturating_add(place)
    }

    /// Takes the compositor's buffer; tells whether it has made one of each by now.
    pub(crate) fn created(&mut self, place: usize, wl_buffer: WlBuffer) -> bool {
        match self.wl_buffers.get_mut(place) {
            Some(known) => *known = Some(wl_buffer),
            None => wl_buffer.destroy(),
        }
        self.wl_buffers.iter().all(Option::is_some)
    }

    /// The dma-bufs.
    pub(crate) fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// The dma-buf at a place.
    pub(crate) fn buffer(&self, place: usize) -> Option<&Buffer> {
        self.buffers.get(place)
    }

    /// What is drawn to at a place.
    pub(crate) fn target(&self, place: usize) -> Option<&Target> {
        self.targets.get(place)
    }

    /// What the compositor shows at a place.
    pub(crate) fn wl_buffer(&self, place: usize) -> Option<&WlBuffer> {
        self.wl_buffers.get(place)?.as_ref()
    }

    /// Where the planes really lie.
    pub(crate) fn layout(&self) -> &Layout {
        self.buffers
            .first()
            .map_or_else(|| self.plan.layout(), Buffer::layout)
    }

    /// Width and height in pixels.
    pub(crate) fn size(&self) -> (u32, u32) {
        let extent = self.layout().extent();
        (extent.width(), extent.height())
    }

    /// The first buffer that nobody has.
    pub(crate) fn free(&self) -> Option<usize> {
        self.holders.free()
    }

    /// Gives the buffer at a place to the device, which draws, or says what has to be over before.
    pub(crate) fn draw(&mut self, place: usize) -> Result<Produce, HandOverError> {
        self.holders.produce(place)
    }

    /// Notes that what [`Chain::draw`] said to wait for is over.
    pub(crate) fn idle(&mut self, place: usize) {
        self.holders.idle(place);
    }

    /// Gives what the device draws until a moment, or has drawn, to the compositor; it comes back behind a release point, where
    /// there is one.
    pub(crate) fn show(
        &mut self,
        place: usize,
        drawn: Option<Behind>,
        back: Option<Behind>,
    ) -> Result<(), HandOverError> {
        self.holders.produced(place, drawn)?;
        self.holders.show(place, back).map(|_| ())
    }

    /// Takes the buffer at a place back from the compositor.
    pub(crate) fn released(&mut self, place: usize) -> Result<(), HandOverError> {
        self.holders.released(place, self.buffers.get(place))
    }

    /// How often the device had to be waited for, because a buffer that came back was still in use.
    pub(crate) fn waits(&self) -> u64 {
        self.holders.waits()
    }

    /// Whether neither device nor compositor has any of its buffers.
    pub(crate) fn is_idle(&self) -> bool {
        self.holders.held_by(Holder::Client) == self.buffers.len()
    }
}
