//! Detects leaked GEM handles and framebuffers of a card's open file. Neither `/proc` nor debugfs lists the handles, so the
//! lowest free handle is read by creating a dumb buffer.

use anyhow::Result;
use covalent_alloc::backend::drm::Card;
use drm::buffer::{Buffer as _, DrmFourcc};
use drm::control::Device as _;

/// The lowest free GEM handle and the number of framebuffers of a card's open file.
#[derive(Debug, PartialEq, Eq)]
pub struct CardHandles {
    /// The lowest free GEM handle. The kernel allocates the lowest free handle first, so a leaked handle increases this number.
    next_handle: u32,
    framebuffers: usize,
}

impl CardHandles {
    /// Reads the state of a card's open file.
    ///
    /// # Errors
    /// The card has no dumb buffers.
    pub fn of(card: &Card) -> Result<Self> {
        let dumb = card.create_dumb_buffer((1, 1), DrmFourcc::Xrgb8888, 32)?;
        let next_handle = u32::from(dumb.handle());
        card.destroy_dumb_buffer(dumb)?;
        // A card without KMS has no framebuffers.
        let framebuffers = card
            .resource_handles()
            .map_or(0, |resources| resources.framebuffers().len());
        Ok(Self {
            next_handle,
            framebuffers,
        })
    }

    /// Returns whether more GEM handles are in use than in `before`. The numbers of framebuffers are not compared.
    #[must_use]
    pub fn holds_more_than(&self, before: &Self) -> bool {
        self.next_handle > before.next_handle
    }
}
