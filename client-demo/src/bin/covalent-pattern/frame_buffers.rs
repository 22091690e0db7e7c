//! The buffers into which frames are drawn: `wl_shm` buffers, or dma-bufs of a plan.

use anyhow::Context;
use covalent_alloc::backend::drm::HostTransfer;
use covalent_alloc::buffer::{Buffer, CpuAccess, Mapping};
use covalent_alloc::collection::BufferCollection;
use covalent_alloc::constraint::{CpuUse, Participant, Role};
use covalent_alloc::model::{Extent, FormatModifier, Fourcc};
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::{ANSWER_DEADLINE, Events};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::exit_code;
use covalent_client_demo::feedback::subscribe;
use covalent_client_demo::negotiation::Negotiation;
use covalent_client_demo::pattern::Rows;
use covalent_client_demo::shm::Pool;
use covalent_client_demo::window::Window;
use wayland_client::protocol::wl_buffer::WlBuffer;

/// The buffers, in shared memory or in dma-bufs.
#[derive(Debug)]
pub(crate) enum FrameBuffers {
    /// `wl_shm` buffers.
    Shm(Pool),
    /// dma-bufs that the compositor has imported, mapped into this process.
    Dmabuf {
        mappings: Vec<Mapping>,
        wl_buffers: Vec<WlBuffer>,
        copies: Option<HostTransfer>,
        source: String,
    },
}

impl FrameBuffers {
    /// Returns the dma-bufs, by their index; none with `wl_shm`.
    pub(crate) fn buffers(&self) -> Vec<Buffer> {
        match self {
            Self::Shm(_) => Vec::new(),
            Self::Dmabuf { mappings, .. } => mappings
                .iter()
                .map(|mapping| mapping.buffer().clone())
                .collect(),
        }
    }

    /// Plans dma-bufs that the CPU writes and the compositor reads, allocates them, and imports them into the compositor.
    pub(crate) fn plan(
        events: &mut Events,
        compositor: &mut Compositor,
        window: &Window,
        (width, height): (u32, u32),
        count: u32,
    ) -> Result<Self, Failure> {
        let subscriptions = subscribe(compositor, window.surface(), &events.handle());
        events
            .dispatch_until(
                compositor,
                "send its feedback",
                ANSWER_DEADLINE,
                |compositor| compositor.has_feedback_of(&subscriptions),
            )
            .map_err(exit_code::compositor_failure)?;
        drop(subscriptions);
        let extent =
            Extent::new(width, height).map_err(|error| Failure::new(Exit::Usage, error))?;
        let mut writer = Participant::processor(Role::CpuWrite);
        writer.for_each_choice(|own| {
            own.formats = Some([FormatModifier::linear(Fourcc::XRGB8888)].into());
            own.memory.cpu = CpuUse::Often;
        });
        let mut collection = BufferCollection::new(extent).with_count(count);
        collection
            .add(&writer)
            .map_err(exit_code::backend_failure)?;
        let mut negotiation = Negotiation::new(collection, "the CPU and the compositor");
        let negotiated = negotiation.negotiate(events, compositor, |_, _| Ok(()))?;
        window.crop(negotiated.plan.layout());
        let mappings = negotiated
            .buffers
            .iter()
            .map(|buffer| buffer.map())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Failure::new(Exit::Allocation, error))?;
        Ok(Self::Dmabuf {
            mappings,
            wl_buffers: negotiated.wl_buffers,
            copies: negotiated.copies,
            source: negotiated.plan.source_name().to_owned(),
        })
    }

    /// Returns the `wl_buffer` at `index`.
    pub(crate) fn buffer(&self, index: usize) -> Option<&WlBuffer> {
        match self {
            Self::Shm(pool) => pool.buffer(index),
            Self::Dmabuf { wl_buffers, .. } => wl_buffers.get(index),
        }
    }

    /// Returns the name of the source that allocated the memory.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Shm(_) => "wl_shm",
            Self::Dmabuf { source, .. } => source,
        }
    }

    /// Draws a frame into the buffer at `index`. Neither the compositor nor a device may use the buffer meanwhile.
    pub(crate) fn draw(&self, index: usize, rows: &Rows) -> anyhow::Result<()> {
        match self {
            Self::Shm(pool) => Ok(pool.draw(index, rows)?),
            Self::Dmabuf {
                mappings, copies, ..
            } => {
                let mapping = mappings
                    .get(index)
                    .context("a dma-buf is not mapped into this process")?;
                let guard = mapping.access(CpuAccess::Write)?;
                let picture = mapping.buffer().layout().visible_bytes(0);
                let picture = picture.context("the layout of the buffer has no rows to draw")?;
                for (row, y) in (picture.first_row..).zip(0..picture.rows) {
                    guard.write_row(0, row, picture.first_byte.into(), rows.row(y))?;
                }
                drop(guard);
                if let Some(copies) = copies {
                    copies.update(index)?;
                }
                Ok(())
            }
        }
    }
}

impl Drop for FrameBuffers {
    fn drop(&mut self) {
        if let Self::Dmabuf { wl_buffers, .. } = self {
            for wl_buffer in wl_buffers {
                wl_buffer.destroy();
            }
        }
    }
}
