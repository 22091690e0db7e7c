//! A display in one mode, whose primary plane scans out the frames' framebuffers.

use anyhow::{Context as _, anyhow};
use covalent_alloc::backend::drm::{Card, CardPlane, Framebuffer, PlaneKind};
use covalent_alloc::model::Extent;
use covalent_client_demo::exit::{Exit, Failure};
use drm::Device as _;
use drm::control::{Device as _, Event, Mode, PageFlipEvent, PageFlipFlags, connector, crtc};

/// The mode and the primary plane of a display that shows the frames.
#[derive(Debug)]
pub(crate) struct Screen {
    card: Card,
    connector: connector::Handle,
    crtc: crtc::Handle,
    mode: Mode,
    plane: CardPlane,
    is_mode_set: bool,
}

/// Returns a failure with [`Exit::NoCompositor`].
fn no_display(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(Exit::NoCompositor, error)
}

impl Screen {
    /// Becomes DRM master of the card and selects a connected display with a mode that `is_supported` accepts: the preferred mode
    /// where it is supported, else the largest supported mode.
    ///
    /// # Errors
    /// [`Exit::NoCompositor`] if another program drives the displays, or no display is connected; [`Exit::NoPlan`] if none has
    /// such a mode.
    pub(crate) fn open(
        card: Card,
        is_supported: impl Fn(&CardPlane, Extent) -> Result<bool, Failure>,
    ) -> Result<Self, Failure> {
        let path = card.path().display().to_string();
        card.acquire_master_lock()
            .map_err(anyhow::Error::from)
            .with_context(|| {
                format!("{path}: another program drives the displays of this card; end that program, or use another card")
            })
            .map_err(no_display)?;
        let request = |what: &'static str| {
            let path = path.clone();
            move |error: std::io::Error| no_display(anyhow!("{path}: {what} failed: {error}"))
        };
        let planes = card.planes().map_err(no_display)?;
        let resources = card
            .resource_handles()
            .map_err(request("DRM_IOCTL_MODE_GETRESOURCES"))?;
        let mut connected = 0;
        for connector in resources.connectors() {
            let info = card
                .get_connector(*connector, true)
                .map_err(request("DRM_IOCTL_MODE_GETCONNECTOR"))?;
            if info.state() != connector::State::Connected {
                continue;
            }
            connected += 1;
            let crtcs = info.encoders().iter().filter_map(|encoder| {
                let encoder = card.get_encoder(*encoder).ok()?;
                Some(resources.filter_crtcs(encoder.possible_crtcs()))
            });
            let primary = crtcs.flatten().find_map(|crtc| {
                let plane = planes.iter().find(|plane| {
                    let handle = drm::control::from_u32(plane.id().into());
                    let info = handle.and_then(|handle| card.get_plane(handle).ok());
                    plane.kind() == PlaneKind::Primary
                        && info.is_some_and(|info| {
                            resources
                                .filter_crtcs(info.possible_crtcs())
                                .contains(&crtc)
                        })
                })?;
                Some((crtc, plane))
            });
            let Some((crtc, plane)) = primary else {
                continue;
            };
            let mut modes = info.modes().to_vec();
            modes.sort_by_key(|mode| {
                let (width, height) = mode.size();
                let is_preferred = mode
                    .mode_type()
                    .contains(drm::control::ModeTypeFlags::PREFERRED);
                let area = u32::from(width).saturating_mul(height.into());
                std::cmp::Reverse((is_preferred, area, mode.vrefresh()))
            });
            for mode in modes {
                if is_supported(plane, extent_of(&mode)?)? {
                    return Ok(Self {
                        connector: *connector,
                        crtc,
                        mode,
                        plane: plane.clone(),
                        card,
                        is_mode_set: false,
                    });
                }
            }
        }
        Err(match connected {
            0 => no_display(anyhow!("{path}: no display is connected")),
            _ => Failure::new(
                Exit::NoPlan,
                anyhow!(
                    "{path}: no display has a mode of a size that the camera captures; `v4l2-ctl --list-formats-ext` lists the camera's sizes"
                ),
            ),
        })
    }

    /// Returns the card that drives the display.
    pub(crate) fn card(&self) -> &Card {
        &self.card
    }

    /// Returns the plane that scans out the frames.
    pub(crate) fn plane(&self) -> &CardPlane {
        &self.plane
    }

    /// Returns the size of the mode in pixels.
    pub(crate) fn extent(&self) -> Result<Extent, Failure> {
        extent_of(&self.mode)
    }

    /// Returns the refresh rate of the mode in hertz.
    pub(crate) fn refresh(&self) -> u32 {
        self.mode.vrefresh()
    }

    /// Shows a framebuffer by a page flip at the next refresh; [`Screen::flips`] returns its event. The first framebuffer is
    /// shown by a blocking modeset instead. For that one the function returns `false`, and there is no event.
    ///
    /// # Errors
    /// [`Exit::CompositorGone`] if the kernel rejects the commit.
    pub(crate) fn show(&mut self, framebuffer: &Framebuffer) -> Result<bool, Failure> {
        let handle = framebuffer.handle();
        let failed = |what: &'static str, error: std::io::Error| {
            let path = self.card.path().display();
            Failure::new(
                Exit::CompositorGone,
                anyhow!(
                    "{path}: {what} failed: {error}; the display was removed, or another program drives it"
                ),
            )
        };
        if self.is_mode_set {
            return self
                .card
                .page_flip(self.crtc, handle, PageFlipFlags::EVENT, None)
                .map(|()| true)
                .map_err(|error| failed("DRM_IOCTL_MODE_PAGE_FLIP", error));
        }
        let visible = framebuffer.buffer().layout().visible();
        self.card
            .set_crtc(
                self.crtc,
                Some(handle),
                (visible.x(), visible.y()),
                &[self.connector],
                Some(self.mode),
            )
            .map_err(|error| failed("DRM_IOCTL_MODE_SETCRTC", error))?;
        self.is_mode_set = true;
        Ok(false)
    }

    /// Reads the page flip events. Call it when the card's file descriptor is readable.
    ///
    /// # Errors
    /// [`Exit::CompositorGone`] if the card was removed.
    pub(crate) fn flips(&self) -> Result<Vec<PageFlipEvent>, Failure> {
        let events = self.card.receive_events().map_err(|error| {
            let path = self.card.path().display();
            Failure::new(
                Exit::CompositorGone,
                anyhow!("{path}: reading the page flip events of the card failed: {error}"),
            )
        })?;
        Ok(events
            .filter_map(|event| match event {
                Event::PageFlip(flip) => Some(flip),
                _ => None,
            })
            .collect())
    }
}

/// Returns the size of a mode in pixels.
fn extent_of(mode: &Mode) -> Result<Extent, Failure> {
    let (width, height) = mode.size();
    Extent::new(width.into(), height.into())
        .map_err(|error| no_display(anyhow!(error).context("a mode of the display")))
}
