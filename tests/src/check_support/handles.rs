//! What a process holds of a card by name: GEM handles and framebuffers. Nothing in `/proc` or debugfs lists the handles.

use anyhow::Result;
use covalent_alloc::backend::drm::Card;
use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::Device as _;

/// What one open file of a card holds.
#[derive(Debug, PartialEq, Eq)]
pub struct CardHandles {
    /// The handle that comes next. The kernel gives the lowest that is free, so every handle that is kept moves it on.
    next_handle: u32,
    framebuffers: usize,
}

impl CardHandles {
    /// Asks the card.
    ///
    /// # Errors
    /// Where it gives no dumb buffer.
    pub fn of(card: &Card) -> Result<Self> {
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

    /// Whether a handle is held that was not before.
    #[must_use]
    pub fn holds_more_than(&self, before: &Self) -> bool {
        self.next_handle > before.next_handle
    }
}
