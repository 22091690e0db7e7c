//! Restores the state that a display had before the compositor started, or turns the display off.

use drm::control::atomic::AtomicModeReq;
use drm::control::{AtomicCommitFlags, Device as _};

use super::{Pipeline, blob};
use crate::kms::{KmsError, kernel};
use crate::transient::retry_transient;

impl Pipeline {
    /// Restores the state that the display had before the compositor changed it, or turns the display off.
    ///
    /// The kernel shows its console again when no DRM master is left.
    pub fn restore(&mut self) {
        // The event loop has ended, so no timer can retry the commit.
        let restored = retry_transient(|| self.restore_initial_state());
        if let Err(error) = restored {
            tracing::debug!(%error, "the display state before the start cannot be restored");
        }
        let _ = self.card.destroy_property_blob(self.mode_blob);
        self.mode_blob = 0;
    }

    /// Commits the initial framebuffer and mode again. If the kernel rejects them, the display is turned off.
    fn restore_initial_state(&self) -> Result<(), KmsError> {
        let mut request = AtomicModeReq::new();
        let mut mode_blob = None;
        let primary = self.planes[self.primary].properties();
        // The initial framebuffer may no longer exist. Then the commit fails, and the display is turned off.
        let framebuffer = primary.value("FB_ID").filter(|id| *id != 0);
        let mode = self.initial_state.mode;
        if let (Some(framebuffer), Some(mode)) = (framebuffer, mode) {
            let blob = blob(&self.card, &mode)?;
            mode_blob = Some(blob);
            self.crtc_properties.set(&mut request, "MODE_ID", blob)?;
            self.crtc_properties.set(&mut request, "ACTIVE", 1)?;
            for (index, plane) in self.planes.iter().enumerate() {
                if index != self.primary {
                    plane.fill_disabled(&mut request)?;
                }
            }
            primary.set(&mut request, "FB_ID", framebuffer)?;
            for name in [
                "CRTC_ID", "SRC_X", "SRC_Y", "SRC_W", "SRC_H", "CRTC_X", "CRTC_Y", "CRTC_W",
                "CRTC_H",
            ] {
                let value = primary.value(name).unwrap_or(0);
                primary.set(&mut request, name, value)?;
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

    /// Disables planes, connector and CRTC, for example after the display was unplugged.
    ///
    /// The commit blocks until an earlier commit has completed, so the page-flip event of a pending frame can be read afterwards.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the commit.
    pub fn turn_off(&mut self) -> Result<(), KmsError> {
        let mut request = AtomicModeReq::new();
        self.fill_disable(&mut request)?;
        self.needs_modeset = true;
        self.card
            .atomic_commit(AtomicCommitFlags::ALLOW_MODESET, request)
            .map_err(kernel("turning the display off"))
    }

    /// Adds to a request that planes, connector and CRTC are turned off.
    fn fill_disable(&self, request: &mut AtomicModeReq) -> Result<(), KmsError> {
        for plane in &self.planes {
            plane.fill_disabled(request)?;
        }
        self.connector_properties.set(request, "CRTC_ID", 0)?;
        if let Some(writeback) = &self.writeback {
            writeback.detach(request)?;
        }
        self.crtc_properties.set(request, "MODE_ID", 0)?;
        self.crtc_properties.set(request, "ACTIVE", 0)
    }
}
