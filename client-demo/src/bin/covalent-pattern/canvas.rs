//! What frames are drawn into: shared memory, or dma-bufs of a plan.

use anyhow::{Context, anyhow};
use covalent_alloc::backend::drm::HostCopies;
use covalent_alloc::buffer::{Buffer, CpuAccess, Mapping};
use covalent_alloc::constraint::{CpuUse, Participant, Role, SourceId};
use covalent_alloc::model::{Extent, Fourcc};
use covalent_alloc::solve::{Plan, Request, Solution, solve};
use covalent_alloc::sources::Sources;
use covalent_client_demo::blame;
use covalent_client_demo::board::Board;
use covalent_client_demo::compositor::Compositor;
use covalent_client_demo::events::{ANSWER_DEADLINE, Events};
use covalent_client_demo::exit::{Exit, Failure};
use covalent_client_demo::feedback::Subscription;
use covalent_client_demo::offers::{Answer, OffersError, present};
use covalent_client_demo::pattern::Rows;
use covalent_client_demo::shm::Pool;
use covalent_client_demo::window::Window;
use covalent_client_demo::wishes::{Wish, wishes};
use wayland_client::protocol::wl_buffer::WlBuffer;

/// Buffers of either kind.
#[derive(Debug)]
pub(crate) enum Canvas {
    /// `wl_shm`.
    Shared(Pool),
    /// dma-bufs that the compositor has taken, mapped here.
    Planned {
        mappings: Vec<Mapping>,
        wires: Vec<WlBuffer>,
        copies: Option<HostCopies>,
        source: String,
    },
}

impl Canvas {
    /// Returns the dma-bufs, by their index; none of shared memory.
    pub(crate) fn buffers(&self) -> Vec<Buffer> {
        match self {
            Self::Shared(_) => Vec::new(),
            Self::Planned { mappings, .. } => mappings
                .iter()
                .map(|mapping| mapping.buffer().clone())
                .collect(),
        }
    }

    /// Plans dma-bufs that the compositor takes and the processor writes, allocates them and has them taken.
    pub(crate) fn plan(
        events: &mut Events,
        compositor: &mut Compositor,
        window: &Window,
        (width, height): (u32, u32),
        count: u32,
    ) -> Result<Self, Failure> {
        let no_plan = |error: anyhow::Error| Failure::new(Exit::NoPlan, error);
        let subscription = Subscription::window(compositor, window.surface(), &events.handle())
            .map_err(|missing| no_plan(missing.into()))?;
        events
            .until(
                compositor,
                "send its feedback",
                ANSWER_DEADLINE,
                |compositor| compositor.window_feedback.is_some(),
            )
            .map_err(blame::compositor)?;
        drop(subscription);
        let wishes = compositor.wishes().map(wishes).unwrap_or_default();
        let extent =
            Extent::new(width, height).map_err(|error| Failure::new(Exit::Usage, error))?;
        let mut sources = Sources::discover();
        for card in wishes.iter().filter_map(|wish| wish.card.as_ref()) {
            sources.add_card(card);
        }
        let board = Board::here();
        let mut last = "the compositor offers no format at all".to_owned();
        for wish in &wishes {
            let mut refused: Vec<SourceId> = Vec::new();
            loop {
                let mut request = request(extent, count, wish, &sources, &refused);
                board.refine(&mut request);
                match solve(&request) {
                    Solution::Share(plan) => match take(events, compositor, &sources, &plan)? {
                        Some(canvas) => return Ok(canvas),
                        None => refused.push(plan.source().clone()),
                    },
                    other => {
                        last = other.explain();
                        break;
                    }
                }
            }
        }
        Err(no_plan(anyhow!(
            "no buffer that the processor writes serves the compositor\n{last}"
        )))
    }

    /// Returns the buffer at `index`.
    pub(crate) fn buffer(&self, index: usize) -> Option<&WlBuffer> {
        match self {
            Self::Shared(pool) => pool.buffer(index),
            Self::Planned { wires, .. } => wires.get(index),
        }
    }

    /// Returns where the memory comes from, in words.
    pub(crate) fn source(&self) -> &str {
        match self {
            Self::Shared(_) => "wl_shm",
            Self::Planned { source, .. } => source,
        }
    }

    /// Draws a frame into the buffer at `index`, which nobody else may hold.
    pub(crate) fn draw(&self, index: usize, rows: &Rows) -> anyhow::Result<()> {
        match self {
            Self::Shared(pool) => Ok(pool.draw(index, rows)?),
            Self::Planned {
                mappings, copies, ..
            } => {
                let mapping = mappings.get(index).context("a buffer without a mapping")?;
                let guard = mapping.access(CpuAccess::Write)?;
                for y in 0..mapping.buffer().layout().extent().height() {
                    guard.write_row(0, y, 0, rows.row(y))?;
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

impl Drop for Canvas {
    fn drop(&mut self) {
        if let Self::Planned { wires, .. } = self {
            for wire in wires {
                wire.destroy();
            }
        }
    }
}

fn request(
    extent: Extent,
    count: u32,
    wish: &Wish,
    sources: &Sources,
    refused: &[SourceId],
) -> Request {
    let mut writer = Participant::processor(Role::CpuWrite);
    let format = covalent_alloc::model::FormatModifier::linear(Fourcc::XRGB8888);
    writer.for_each_choice(|own| {
        own.formats = Some(vec![format].into());
        own.memory.cpu = CpuUse::Often;
    });
    let mut request = Request::new(extent);
    request.count = count;
    request.participants = wish.participants.clone();
    request.participants.push(writer);
    request.sources = sources
        .declarations()
        .into_iter()
        .filter(|source| !refused.contains(&source.id))
        .collect();
    request
}

/// Allocates a plan and offers it; `None` when the compositor refuses.
fn take(
    events: &mut Events,
    compositor: &mut Compositor,
    sources: &Sources,
    plan: &Plan,
) -> Result<Option<Canvas>, Failure> {
    let buffers = sources
        .allocate(plan)
        .map_err(|error| Failure::new(Exit::Allocation, error))?;
    let answer = present(events, compositor, &buffers).map_err(|error| match error {
        OffersError::Events(error) => blame::compositor(error),
        other => Failure::new(Exit::Unexpected, other),
    })?;
    let Answer::Taken(wires) = answer else {
        return Ok(None);
    };
    let mappings = buffers
        .iter()
        .map(|buffer| buffer.map())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::new(Exit::Allocation, error))?;
    let copies =
        HostCopies::of(plan, &buffers).map_err(|error| Failure::new(Exit::Allocation, error))?;
    Ok(Some(Canvas::Planned {
        mappings,
        wires,
        copies,
        source: plan.source_name().to_owned(),
    }))
}
