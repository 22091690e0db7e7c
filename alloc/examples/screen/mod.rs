//! Shows one framebuffer after another on the first connected display of a card, with the legacy KMS ioctls.

use std::error::Error;

use covalent_alloc::backend::drm::{Card, Framebuffer};
use covalent_alloc::model::Extent;
use drm::Device as _;
use drm::control::{Device as _, Event, Mode, PageFlipFlags, connector, crtc};

/// A display, with its mode.
pub(crate) struct Screen {
    card: Card,
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
    is_mode_set: bool,
}

impl Screen {
    /// Becomes DRM master of the card and selects the first connected display that has a mode of this size, in pixels.
    ///
    /// # Errors
    /// Another program is DRM master, no display is connected, or none has such a mode.
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
                    is_mode_set: false,
                });
            }
        }
        Err(format!("no connected display has a mode of {extent}").into())
    }

    /// Shows a framebuffer and waits until the display scans it out. Then the display no longer reads the previous framebuffer.
    ///
    /// # Errors
    /// The error of a KMS ioctl.
    pub(crate) fn show(&mut self, framebuffer: &Framebuffer) -> Result<(), Box<dyn Error>> {
        let handle = framebuffer.handle();
        if !self.is_mode_set {
            let (connectors, mode) = ([self.connector], Some(self.mode));
            let visible = framebuffer.buffer().layout().visible();
            let corner = (visible.x(), visible.y());
            self.card
                .set_crtc(self.crtc, Some(handle), corner, &connectors, mode)?;
            self.is_mode_set = true;
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
