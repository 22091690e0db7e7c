//! One connector, one CRTC and one primary plane: atomic commits and page-flip events.

mod open;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

use drm::control::atomic::AtomicModeReq;
use drm::control::{AtomicCommitFlags, Device, Mode, connector, crtc, framebuffer, plane};

use super::mode::{refresh_millihertz, select_mode};
use super::property::Properties;
use super::writeback::{WritebackConnector, WritebackJob};
use super::{KmsError, kernel};
use crate::region::Rect;
use crate::transient::retry_transient;

/// The plane property for the fence that the kernel waits for before it shows the framebuffer, as a sync_file.
const IN_FENCE_FD: &str = "IN_FENCE_FD";

/// The mode-setting objects of one display.
#[derive(Debug)]
pub struct Pipeline<C: Device> {
    card: C,
    connector: connector::Handle,
    name: String,
    crtc: crtc::Handle,
    plane: plane::Handle,
    formats: Vec<u32>,
    modes: Vec<Mode>,
    mode: Mode,
    mode_blob: u64,
    connector_properties: Properties,
    crtc_properties: Properties,
    plane_properties: Properties,
    counts_vblanks: bool,
    needs_modeset: bool,
    initial_state: InitialState,
    writeback: Option<WritebackConnector>,
}

/// The state of the display before the compositor changed it.
#[derive(Debug)]
struct InitialState {
    mode: Option<Mode>,
}

/// The state of the next atomic commit.
#[derive(Clone, Copy, Debug)]
pub struct FrameState<'a> {
    /// The framebuffer, which covers the mode exactly.
    pub framebuffer: framebuffer::Handle,
    /// The damage in framebuffer pixels; `None` if it is not known.
    pub damage: Option<Rect>,
    /// The fence that is signalled when the framebuffer's content is complete, for planes with `IN_FENCE_FD`.
    pub in_fence: Option<BorrowedFd<'a>>,
    /// The framebuffer for the writeback connector.
    pub writeback: Option<&'a WritebackJob>,
}

/// An event of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The frame that was submitted last is on the display.
    PageFlip {
        /// The time of the page flip on `CLOCK_MONOTONIC`; zero where the card does not report it.
        time: Duration,
        /// The vblank counter; 0 where the CRTC does not count vblanks.
        sequence: u32,
    },
}

impl<C: Device> Pipeline<C> {
    /// Returns the card.
    pub fn card(&self) -> &C {
        &self.card
    }

    /// Returns the connector's name, for example `Virtual-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the primary plane.
    pub fn plane(&self) -> plane::Handle {
        self.plane
    }

    /// Returns the fourccs that the primary plane supports.
    pub fn formats(&self) -> &[u32] {
        &self.formats
    }

    /// Returns the size in pixels and the refresh rate in millihertz of the mode.
    pub fn mode(&self) -> ((u16, u16), u32) {
        (self.mode.size(), refresh_millihertz(&self.mode))
    }

    /// Returns whether the CRTC counts vblanks, and therefore flips during vertical blanking.
    pub fn counts_vblanks(&self) -> bool {
        self.counts_vblanks
    }

    /// Returns whether the plane has the property `IN_FENCE_FD`.
    pub fn supports_in_fence(&self) -> bool {
        self.plane_properties.has(IN_FENCE_FD)
    }

    /// Returns the writeback connector.
    pub fn writeback(&self) -> Option<&WritebackConnector> {
        self.writeback.as_ref()
    }

    /// Returns whether the display has a mode of that size.
    pub fn has_mode(&self, size: (u16, u16)) -> bool {
        self.modes.iter().any(|mode| mode.size() == size)
    }

    /// Returns size and refresh rate of the mode that would be selected for a request, as [`mode`](Self::mode) does.
    pub fn mode_for(
        &self,
        size: Option<(u16, u16)>,
        refresh: Option<u32>,
    ) -> Option<((u16, u16), u32)> {
        let mode = select_mode(&self.modes, size, refresh)?;
        Some((mode.size(), refresh_millihertz(&mode)))
    }

    /// Selects another mode, which the next commit sets; returns whether the display has such a mode.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the mode.
    pub fn set_mode(
        &mut self,
        size: Option<(u16, u16)>,
        refresh_millihertz: Option<u32>,
    ) -> Result<bool, KmsError> {
        let Some(mode) = select_mode(&self.modes, size, refresh_millihertz) else {
            return Ok(false);
        };
        let blob = blob(&self.card, &mode)?;
        let _ = self.card.destroy_property_blob(self.mode_blob);
        self.mode_blob = blob;
        self.mode = mode;
        self.needs_modeset = true;
        Ok(true)
    }

    /// Probes the connector; returns whether a display with modes is connected.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the probe.
    pub fn probe(&mut self) -> Result<bool, KmsError> {
        let info = retry_transient(|| self.card.get_connector(self.connector, true))
            .map_err(kernel("probing the connector"))?;
        if info.state() != connector::State::Connected || info.modes().is_empty() {
            return Ok(false);
        }
        self.modes = info.modes().to_vec();
        Ok(true)
    }

    /// Makes the next commit set the whole state, because another DRM master may have changed it.
    pub fn reset(&mut self) {
        self.needs_modeset = true;
    }

    /// Makes a test-only commit of a framebuffer.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the commit.
    pub fn test(&self, framebuffer: framebuffer::Handle) -> Result<(), KmsError> {
        let frame = FrameState {
            framebuffer,
            damage: None,
            in_fence: None,
            writeback: None,
        };
        let mut request = AtomicModeReq::new();
        self.fill_frame(&mut request, &frame)?;
        let mut flags = AtomicCommitFlags::TEST_ONLY;
        if self.needs_modeset {
            flags |= AtomicCommitFlags::ALLOW_MODESET;
        }
        self.card
            .atomic_commit(flags, request)
            .map_err(kernel("the test commit of the frame"))
    }

    /// Commits a frame, which is shown at the next vblank. An [`Event::PageFlip`] reports when it is on the display.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the commit. The previous frame stays on the display then.
    pub fn submit(&mut self, frame: &FrameState<'_>) -> Result<(), KmsError> {
        let mut request = AtomicModeReq::new();
        self.fill_frame(&mut request, frame)?;
        let mut damage_blob = None;
        if let (Some(damage), false) = (frame.damage, self.needs_modeset) {
            if self.plane_properties.has("FB_DAMAGE_CLIPS") {
                let clip = [damage.x, damage.y, damage.right(), damage.bottom()];
                // Without the property the driver treats the whole framebuffer as damaged, which only costs time.
                if let Ok(blob) = blob(&self.card, &clip) {
                    self.plane_properties
                        .set_if_present(&mut request, "FB_DAMAGE_CLIPS", blob);
                    damage_blob = Some(blob);
                }
            }
        }
        let mut flags = AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
        if self.needs_modeset {
            flags |= AtomicCommitFlags::ALLOW_MODESET;
        }
        let result = self.card.atomic_commit(flags, request);
        if let Some(blob) = damage_blob {
            // The kernel's state holds its own reference to the blob.
            let _ = self.card.destroy_property_blob(blob);
        }
        result.map_err(kernel("the commit of the frame"))?;
        self.needs_modeset = false;
        Ok(())
    }

    /// Adds the properties of a frame to an atomic request.
    fn fill_frame(
        &self,
        request: &mut AtomicModeReq,
        frame: &FrameState<'_>,
    ) -> Result<(), KmsError> {
        let (width, height) = self.mode.size();
        let (width, height) = (u64::from(width), u64::from(height));
        let crtc = u64::from(u32::from(self.crtc));
        if self.needs_modeset {
            self.connector_properties.set(request, "CRTC_ID", crtc)?;
            self.crtc_properties
                .set(request, "MODE_ID", self.mode_blob)?;
            self.crtc_properties.set(request, "ACTIVE", 1)?;
            if let Some(writeback) = &self.writeback {
                writeback.attach(request, crtc)?;
            }
        }
        let plane = &self.plane_properties;
        plane.set(request, "FB_ID", u64::from(u32::from(frame.framebuffer)))?;
        plane.set(request, "CRTC_ID", crtc)?;
        plane.set(request, "SRC_X", 0)?;
        plane.set(request, "SRC_Y", 0)?;
        // Source coordinates have 16 fractional bits.
        plane.set(request, "SRC_W", width << 16)?;
        plane.set(request, "SRC_H", height << 16)?;
        plane.set(request, "CRTC_X", 0)?;
        plane.set(request, "CRTC_Y", 0)?;
        plane.set(request, "CRTC_W", width)?;
        plane.set(request, "CRTC_H", height)?;
        if let Some(fence) = frame.in_fence {
            // The kernel takes its own reference to the fence.
            let fence = u64::try_from(fence.as_raw_fd()).unwrap_or(u64::MAX);
            plane.set(request, IN_FENCE_FD, fence)?;
        }
        if let (Some(writeback), Some(job)) = (&self.writeback, frame.writeback) {
            writeback.fill(request, job)?;
        }
        Ok(())
    }

    /// Reads the pending events of the card. Does not block if the descriptor is readable.
    ///
    /// # Errors
    ///
    /// When the card cannot be read, for example because it was removed.
    pub fn events(&self) -> io::Result<Vec<Event>> {
        let events = match self.card.receive_events() {
            Ok(events) => events,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error),
        };
        Ok(events
            .filter_map(|event| match event {
                drm::control::Event::PageFlip(flip) if flip.crtc == self.crtc => {
                    Some(Event::PageFlip {
                        time: flip.duration,
                        sequence: flip.frame,
                    })
                }
                _ => None,
            })
            .collect())
    }

    /// Restores the state that the display had before the compositor changed it, or turns the display off.
    ///
    /// The kernel shows its console again when no DRM master is left.
    pub fn restore(&mut self) {
        // The event loop has ended, so a timer could not retry.
        let restored = retry_transient(|| self.restore_initial_state());
        if let Err(error) = restored {
            tracing::debug!(%error, "the display state before the start cannot be restored");
        }
        let _ = self.card.destroy_property_blob(self.mode_blob);
        self.mode_blob = 0;
    }

    fn restore_initial_state(&self) -> Result<(), KmsError> {
        let mut request = AtomicModeReq::new();
        let mut mode_blob = None;
        // The framebuffer from before may have been removed; the display is turned off then.
        let framebuffer = self.plane_properties.value("FB_ID").filter(|id| *id != 0);
        let mode = self.initial_state.mode;
        if let (Some(framebuffer), Some(mode)) = (framebuffer, mode) {
            let blob = blob(&self.card, &mode)?;
            mode_blob = Some(blob);
            self.crtc_properties.set(&mut request, "MODE_ID", blob)?;
            self.crtc_properties.set(&mut request, "ACTIVE", 1)?;
            self.plane_properties
                .set(&mut request, "FB_ID", framebuffer)?;
            for name in [
                "CRTC_ID", "SRC_X", "SRC_Y", "SRC_W", "SRC_H", "CRTC_X", "CRTC_Y", "CRTC_W",
                "CRTC_H",
            ] {
                let value = self.plane_properties.value(name).unwrap_or(0);
                self.plane_properties.set(&mut request, name, value)?;
            }
            let crtc = self.connector_properties.value("CRTC_ID").unwrap_or(0);
            self.connector_properties
                .set(&mut request, "CRTC_ID", crtc)?;
        } else {
            self.fill_disable(&mut request)?;
        }
        let flags = AtomicCommitFlags::ALLOW_MODESET;
        let mut result = self.card.atomic_commit(flags, request);
        if result.is_err() && mode_blob.is_some() {
            let mut request = AtomicModeReq::new();
            self.fill_disable(&mut request)?;
            result = self.card.atomic_commit(flags, request);
        }
        if let Some(blob) = mode_blob {
            let _ = self.card.destroy_property_blob(blob);
        }
        result.map_err(kernel("restoring the display state"))
    }

    /// Disables plane, connector and CRTC, for example after the display was unplugged.
    ///
    /// Pending events are discarded, so that no [`Event`] of an earlier frame is taken for one of a later frame.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the commit.
    pub fn turn_off(&mut self) -> Result<(), KmsError> {
        let mut request = AtomicModeReq::new();
        self.fill_disable(&mut request)?;
        self.needs_modeset = true;
        let result = self
            .card
            .atomic_commit(AtomicCommitFlags::ALLOW_MODESET, request)
            .map_err(kernel("turning the display off"));
        self.discard_events();
        result
    }

    /// Reads the pending events of the card and discards them.
    pub fn discard_events(&self) {
        while self.events().is_ok_and(|events| !events.is_empty()) {}
    }

    fn fill_disable(&self, request: &mut AtomicModeReq) -> Result<(), KmsError> {
        self.plane_properties.set(request, "FB_ID", 0)?;
        self.plane_properties.set(request, "CRTC_ID", 0)?;
        self.connector_properties.set(request, "CRTC_ID", 0)?;
        if let Some(writeback) = &self.writeback {
            writeback.detach(request)?;
        }
        self.crtc_properties.set(request, "MODE_ID", 0)?;
        self.crtc_properties.set(request, "ACTIVE", 0)
    }
}

impl<C: Device> AsFd for Pipeline<C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.card.as_fd()
    }
}

/// Creates a property blob.
fn blob<C: Device, T>(card: &C, data: &T) -> Result<u64, KmsError> {
    card.create_property_blob(data)
        .map(u64::from)
        .map_err(kernel("creating a property blob"))
}
