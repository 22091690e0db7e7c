//! KMS output of this program: a connector, a primary plane, and the writeback connector if the card has one.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use covalent_alloc::backend::drm::{Card, Framebuffer, PlaneKind};
use covalent_alloc::model::Extent;
use drm::ClientCapability;
use drm::Device as _;
use drm::control::atomic::AtomicModeReq;
use drm::control::{
    AtomicCommitFlags, Device as _, Mode, RawResourceHandle, ResourceHandle, connector, crtc,
    plane, property,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest time for a page flip or a writeback. vkms composites on the CPU, which is emulated.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many times a writeback is requested before the check fails. vkms drops some of the requests.
const WRITEBACK_ATTEMPTS: usize = 8;

/// The properties of a KMS object, by name.
struct Properties {
    object: RawResourceHandle,
    by_name: HashMap<String, property::Handle>,
}

impl Properties {
    fn of(card: &Card, object: impl ResourceHandle) -> Result<Self> {
        let mut by_name = HashMap::new();
        for (handle, _) in card.get_properties(object)? {
            let name = card.get_property(handle)?;
            by_name.insert(name.name().to_string_lossy().into_owned(), handle);
        }
        Ok(Self {
            object: object.into(),
            by_name,
        })
    }

    /// Adds a property to a request.
    fn set(&self, request: &mut AtomicModeReq, name: &str, value: u64) -> Result<()> {
        let handle = self
            .by_name
            .get(name)
            .with_context(|| format!("the KMS object has no property {name}"))?;
        request.add_raw_property(self.object, *handle, value);
        Ok(())
    }
}

/// A display of a card. When it is dropped, the display is switched off.
pub(crate) struct Display {
    pub(crate) card: Card,
    pub(crate) plane: plane::Handle,
    mode: Mode,
    crtc: crtc::Handle,
    of_connector: Properties,
    of_crtc: Properties,
    of_plane: Properties,
    writeback: Option<Properties>,
    is_on: bool,
}

impl Drop for Display {
    fn drop(&mut self) {
        if self.is_on {
            // If this fails, the kernel switches the display off when the last open file of the card is closed.
            let _ = self.off();
        }
        let _ = self.card.release_master_lock();
    }
}

impl Display {
    /// Becomes DRM master of a card and uses its first connected display. Returns `None` if no display is connected, or if the
    /// card does not support atomic commits.
    ///
    /// # Errors
    /// Another program is DRM master of the card, or a request fails.
    pub(crate) fn take(card: &Card) -> Result<Option<Self>> {
        Self::take_mode(card, smallest)
    }

    /// Uses the first connected display as [`Display::take`] does, in its smallest mode of this many rows. Returns `None` if the
    /// display has no such mode.
    ///
    /// # Errors
    /// As [`Display::take`].
    pub(crate) fn take_with_height(card: &Card, rows: u32) -> Result<Option<Self>> {
        Self::take_mode(card, |modes| {
            let of_rows = modes.iter().filter(|mode| u32::from(mode.size().1) == rows);
            smallest(&of_rows.copied().collect::<Vec<_>>())
        })
    }

    /// Takes the first connected display of the card that has a mode which `choose` returns.
    fn take_mode(card: &Card, choose: impl Fn(&[Mode]) -> Option<Mode>) -> Result<Option<Self>> {
        let capable = [
            ClientCapability::UniversalPlanes,
            ClientCapability::Atomic,
            ClientCapability::WritebackConnectors,
        ]
        .map(|capability| card.set_client_capability(capability, true).is_ok());
        let Ok(resources) = card.resource_handles() else {
            return Ok(None);
        };
        if !capable[1] {
            return Ok(None);
        }
        let (mut shown, mut writeback) = (None, None);
        for handle in resources.connectors() {
            let info = card.get_connector(*handle, true)?;
            if info.interface() == connector::Interface::Writeback {
                writeback = Some(*handle);
            } else if shown.is_none() && info.state() == connector::State::Connected {
                shown = choose(info.modes()).map(|mode| (*handle, mode, info.encoders().to_vec()));
            }
        }
        let Some((connector, mode, encoders)) = shown else {
            return Ok(None);
        };
        let reached = encoders
            .iter()
            .filter_map(|encoder| card.get_encoder(*encoder).ok())
            .flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs()))
            .next()
            .context("no CRTC can drive the connector")?;
        let plane = primary(card, &resources, reached)?;
        card.acquire_master_lock()
            .with_context(|| format!("another program drives {}", card.path().display()))?;
        Ok(Some(Self {
            of_connector: Properties::of(card, connector)?,
            of_crtc: Properties::of(card, reached)?,
            of_plane: Properties::of(card, plane)?,
            writeback: writeback
                .map(|connector| Properties::of(card, connector))
                .transpose()?,
            card: card.clone(),
            plane,
            mode,
            crtc: reached,
            is_on: false,
        }))
    }

    /// Returns the size of the mode in pixels.
    pub(crate) fn extent(&self) -> Result<Extent> {
        let (width, height) = self.mode.size();
        Ok(Extent::new(width.into(), height.into())?)
    }

    /// Returns whether the card has a writeback connector.
    pub(crate) fn has_writeback(&self) -> bool {
        self.writeback.is_some()
    }

    /// Returns whether the plane has the property IN_FENCE_FD.
    pub(crate) fn has_in_fence(&self) -> bool {
        self.of_plane.by_name.contains_key("IN_FENCE_FD")
    }

    /// Commits a framebuffer, with `fence` as IN_FENCE_FD. [`Display::wait_for_flip`] waits until the framebuffer is shown.
    pub(crate) fn show(
        &mut self,
        framebuffer: &Framebuffer,
        fence: Option<BorrowedFd<'_>>,
    ) -> Result<()> {
        let mut request = self.request(framebuffer, fence)?;
        if let Some(writeback) = &self.writeback {
            writeback.set(&mut request, "CRTC_ID", u64::from(u32::from(self.crtc)))?;
        }
        let flags = AtomicCommitFlags::NONBLOCK
            | AtomicCommitFlags::PAGE_FLIP_EVENT
            | AtomicCommitFlags::ALLOW_MODESET;
        self.card
            .atomic_commit(flags, request)
            .context("commit the framebuffer")?;
        self.is_on = true;
        Ok(())
    }

    /// Commits a framebuffer without a fence, and waits until the display shows it.
    pub(crate) fn present(&mut self, framebuffer: &Framebuffer, timeout: Duration) -> Result<()> {
        self.show(framebuffer, None)?;
        ensure!(self.wait_for_flip(timeout)?, "the framebuffer is not shown");
        Ok(())
    }

    /// Waits for the page flip event; returns `false` if the event does not arrive within `timeout`.
    pub(crate) fn wait_for_flip(&self, timeout: Duration) -> Result<bool> {
        let until = Instant::now() + timeout;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let wait = Timespec::try_from(left)?;
            let file = self.card.as_fd();
            let mut fds = [PollFd::new(&file, PollFlags::IN)];
            if rustix::io::retry_on_intr(|| poll(&mut fds, Some(&wait)))? == 0 {
                return Ok(false);
            }
            let mut events = self.card.receive_events()?;
            if events.any(|event| matches!(event, drm::control::Event::PageFlip(_))) {
                return Ok(true);
            }
        }
    }

    /// Requests a writeback of the shown framebuffer to `into` again and again, until `is_there` returns true. Returns whether it
    /// returned true.
    pub(crate) fn write_back(
        &mut self,
        shown: &Framebuffer,
        into: &Framebuffer,
        mut is_there: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        for _ in 0..WRITEBACK_ATTEMPTS {
            let writeback = self
                .writeback
                .as_ref()
                .context("the card has no writeback connector")?;
            let mut request = self.request(shown, None)?;
            let crtc = u64::from(u32::from(self.crtc));
            writeback.set(&mut request, "CRTC_ID", crtc)?;
            let framebuffer = u64::from(u32::from(into.handle()));
            writeback.set(&mut request, "WRITEBACK_FB_ID", framebuffer)?;
            let flags = AtomicCommitFlags::NONBLOCK
                | AtomicCommitFlags::PAGE_FLIP_EVENT
                | AtomicCommitFlags::ALLOW_MODESET;
            self.card
                .atomic_commit(flags, request)
                .context("commit the writeback")?;
            ensure!(
                self.wait_for_flip(TIMEOUT)?,
                "the commit with the writeback was not shown"
            );
            // The card writes to the buffer at the next vblank after the flip.
            for _ in 0..10 {
                if is_there()? {
                    return Ok(true);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(false)
    }

    /// Returns the request that shows a framebuffer, when the fence is signalled.
    fn request(
        &self,
        framebuffer: &Framebuffer,
        fence: Option<BorrowedFd<'_>>,
    ) -> Result<AtomicModeReq> {
        let mut request = AtomicModeReq::new();
        let crtc = u64::from(u32::from(self.crtc));
        let (width, height) = self.mode.size();
        let (width, height) = (u64::from(width), u64::from(height));
        if !self.is_on {
            let blob = self.card.create_property_blob(&self.mode)?;
            self.of_connector.set(&mut request, "CRTC_ID", crtc)?;
            self.of_crtc.set(&mut request, "MODE_ID", blob.into())?;
            self.of_crtc.set(&mut request, "ACTIVE", 1)?;
        }
        let number = u64::from(u32::from(framebuffer.handle()));
        for (name, value) in [
            ("FB_ID", number),
            ("CRTC_ID", crtc),
            ("CRTC_X", 0),
            ("CRTC_Y", 0),
            ("CRTC_W", width),
            ("CRTC_H", height),
        ] {
            self.of_plane.set(&mut request, name, value)?;
        }
        for (name, value) in framebuffer.source_properties() {
            self.of_plane.set(&mut request, name, value)?;
        }
        if let Some(fence) = fence {
            let number = u64::try_from(fence.as_raw_fd())?;
            self.of_plane.set(&mut request, "IN_FENCE_FD", number)?;
        }
        Ok(request)
    }

    /// Switches the display off.
    fn off(&self) -> Result<()> {
        let mut request = AtomicModeReq::new();
        self.of_plane.set(&mut request, "FB_ID", 0)?;
        self.of_plane.set(&mut request, "CRTC_ID", 0)?;
        self.of_connector.set(&mut request, "CRTC_ID", 0)?;
        if let Some(writeback) = &self.writeback {
            writeback.set(&mut request, "CRTC_ID", 0)?;
        }
        self.of_crtc.set(&mut request, "MODE_ID", 0)?;
        self.of_crtc.set(&mut request, "ACTIVE", 0)?;
        self.card
            .atomic_commit(AtomicCommitFlags::ALLOW_MODESET, request)?;
        Ok(())
    }
}

/// Returns the mode with the fewest pixels among the modes of at least 640x480 pixels. Larger modes only take longer on an
/// emulated machine.
fn smallest(modes: &[Mode]) -> Option<Mode> {
    let pixels = |mode: &Mode| u32::from(mode.size().0) * u32::from(mode.size().1);
    modes
        .iter()
        .filter(|mode| mode.size().0 >= 640 && mode.size().1 >= 480)
        .min_by_key(|mode| pixels(mode))
        .copied()
}

/// Returns the primary plane of a CRTC.
fn primary(
    card: &Card,
    resources: &drm::control::ResourceHandles,
    crtc: crtc::Handle,
) -> Result<plane::Handle> {
    for plane in card.plane_handles()? {
        let reaches = resources.filter_crtcs(card.get_plane(plane)?.possible_crtcs());
        if reaches.contains(&crtc) && card.plane_kind(plane)? == PlaneKind::Primary {
            return Ok(plane);
        }
    }
    anyhow::bail!("the CRTC has no primary plane")
}
