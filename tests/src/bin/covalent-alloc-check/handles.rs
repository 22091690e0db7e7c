//! What a process holds of a card by name: GEM handles and framebuffers. Nothing in `/proc` or debugfs lists the handles.

use anyhow::{Result, ensure};
use covalent_alloc::backend::drm::Card;
use covalent_alloc::sources::Sources;
use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::Device as _;

use super::{Seen, Tally};

/// What one open file of a card holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The handle that comes next. The kernel gives the lowest that is free, so every handle that is kept moves it on.
    next_handle: u32,
    framebuffers: usize,
}

impl Held {
    pub(crate) fn by(card: &Card) -> Result<Self> {
        let dumb = card.create_dumb_buffer((1, 1), DrmFourcc::Xrgb8888, 32)?;
        let next_handle = u32::from(dumb.handle());
        card.destroy_dumb_buffer(dumb)?;
        // A card without a display has none.
        let framebuffers = card
            .resource_handles()
            .map_or(0, |resources| resources.framebuffers().len());
        Ok(Self {
            next_handle,
            framebuffers,
        })
    }
}

/// Every card that is watched has to see what is kept: else nothing that is found nowhere says anything.
pub(crate) fn run(tally: &mut Tally, sources: &Sources) {
    for card in sources.cards() {
        let name = format!(
            "handles::{}::one_that_is_kept_is_seen",
            card.path().display()
        );
        tally.check(&name, || {
            let before = Held::by(card)?;
            let kept = card.create_dumb_buffer((16, 16), DrmFourcc::Xrgb8888, 32)?;
            let with_it = Held::by(card)?;
            card.destroy_dumb_buffer(kept)?;
            ensure!(with_it.next_handle > before.next_handle, "{with_it:?}");
            ensure!(Held::by(card)? == before, "it is not seen to go");
            Ok(Seen::Passed)
        });
    }
}
