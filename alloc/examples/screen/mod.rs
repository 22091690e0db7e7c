//! The first display of a card, driven as simply as KMS allows: one mode, one framebuffer after the other.

use std::error::Error;

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::model::Extent;
use drm::Device as _;
use drm::control::{Device as _, Event, Mode, PageFlipFlags, connector, crtc};

/// A display with its mode.
pub(crate) struct Screen {
    card: Card,
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
    is_lit: bool,
}

impl Screen {
    /// Becomes DRM master of the card and takes its first connected display, in a mode of this size.
    ///
    /// # Errors
    /// Where another program is master, no display is connected, or it has no such mode.
    pub(crate) fn open(card: &Card, extent: Extent) -> Result<Self, Box<dyn Error>> {
        card.acquire_master_lock()
            .map_err(|error| format!("another program drives the display ({error})"))?;
        let resources = card.resource_handles()?;
        for connector in resources.connectors() {
            let info = card.get_connector(*connector, true)?;
            let fits = |mode: &&Mode| {
                let (width, height) = mode.size();
                (u32::from(width), u32::from(height)) == (extent.width(), extent.height())
            };
            let mut crtcs = info.encoders().iter().filter_map(|encoder| {
                let encoder = card.get_encoder(*encoder).ok()?;
                let possible = resources.filter_crtcs(encoder.possible_crtcs());
                possible.first().copied()
            });
            if let (Some(mode), Some(crtc)) = (info.modes().iter().find(fits), crtcs.next()) {
                return Ok(Self {
                    card: card.clone(),
                    connector: *connector,
                    crtc,
                    mode: *mode,
                    is_lit: false,
                });
            }
        }
        Err(format!("no connected display has a mode of {extent}").into())
    }

    /// Shows a framebuffer from the next refresh on, and waits for that. The one before is free then.
    ///
    /// # Errors
    /// What the kernel answers.
    pub(crate) fn show(&mut self, framebuffer: &Framebuffer) -> Result<(), Box<dyn Error>> {
        let handle = framebuffer.handle();
        if !self.is_lit {
            let (connectors, mode) = ([self.connector], Some(self.mode));
            self.card
                .set_crtc(self.crtc, Some(handle), (0, 0), &connectors, mode)?;
            self.is_lit = true;
            return Ok(());
        }
        self.card
            .page_flip(self.crtc, handle, PageFlipFlags::EVENT, None)?;
        loop {
            let mut events = self.card.receive_events()?;
            if events.any(|event| matches!(event, Event::PageFlip(_))) {
                return Ok(());
            }
        }
    }
}
