//! Changes the mode of a display, for a fullscreen buffer and after a hotplug event, and reallocates the output buffers for the
//! new size.

use super::{HotplugOutcome, Kms};
use crate::backend::ModeError;
use crate::backend::output_buffers::OutputBuffers;
use crate::options::ModeRequest;
use crate::transient::FaultKind;

impl Kms {
    /// Changes the mode to the size of a fullscreen buffer, if `--match-mode` is set and the display has such a mode.
    pub(in crate::backend) fn match_size(
        &mut self,
        size: Option<(i32, i32)>,
    ) -> Result<bool, ModeError> {
        if !self.match_mode || self.in_flight.is_some() {
            return Ok(false);
        }
        let of =
            |size: (i32, i32)| Some((u16::try_from(size.0).ok()?, u16::try_from(size.1).ok()?));
        let matching = size
            .and_then(of)
            .filter(|size| self.pipeline.has_mode(*size));
        let request = match matching {
            Some((width, height)) => Some(ModeRequest {
                width,
                height,
                refresh_millihertz: None,
            }),
            None => self.requested_mode,
        };
        let size = request.map(|mode| (mode.width, mode.height));
        let refresh = request.and_then(|mode| mode.refresh_millihertz);
        let old_mode = self.pipeline.mode();
        let is_current = match self.pipeline.mode_for(size, refresh) {
            None => true,
            // A mode that has the requested size already is kept, whatever its refresh rate.
            Some((size, _)) if matching.is_some() => size == old_mode.0,
            Some(mode) => mode == old_mode,
        };
        if is_current {
            return Ok(false);
        }
        Ok(self.set_mode(request)? && self.pipeline.mode() != old_mode)
    }

    /// Sets a mode and allocates output buffers of its size. Nothing changes if this fails.
    fn set_mode(&mut self, request: Option<ModeRequest>) -> Result<bool, ModeError> {
        let old_mode = self.pipeline.mode();
        let size = request.map(|mode| (mode.width, mode.height));
        let refresh = request.and_then(|mode| mode.refresh_millihertz);
        let Some((size, _)) = self.pipeline.mode_for(size, refresh) else {
            return Ok(false);
        };
        let request = request.map(|mode| (mode.width, mode.height));
        if size == old_mode.0 {
            self.tests.clear();
            return Ok(self.pipeline.set_mode(request, refresh)?);
        }
        // The buffers are allocated first, so that a failure leaves the mode unchanged.
        let card = self.pipeline.card().clone();
        let output_buffers = OutputBuffers::allocate(&card, self.pipeline.plane(), size)?;
        if !self.pipeline.set_mode(request, refresh)? {
            return Ok(false);
        }
        // The old buffers are kept until the display has flipped to another frame.
        self.output_buffers.replace(output_buffers);
        self.tests.clear();
        Ok(true)
    }

    /// Handles a hotplug event.
    ///
    /// # Errors
    ///
    /// When an ioctl of the card fails. Another call retries the remaining steps.
    pub fn hotplug(&mut self) -> Result<HotplugOutcome, ModeError> {
        let preferred = self.pipeline.mode_for(None, None);
        if !self.pipeline.probe()? {
            if self.connected {
                tracing::warn!(connector = self.name(), "the display was unplugged");
                self.connected = false;
                self.turn_off_pending = true;
            }
            if !self.turn_off_pending {
                return Ok(HotplugOutcome::Unchanged);
            }
            // From here on the display counts as disconnected, even if its CRTC cannot be turned off.
            let off = self.pipeline.turn_off();
            self.abandon();
            match off {
                Err(error) if FaultKind::of(&error).is_transient() => return Err(error.into()),
                // The connector is probed again when the session becomes active, and the CRTC is then turned off.
                Err(error) if FaultKind::of(&error) == FaultKind::NotMaster => {
                    return Ok(HotplugOutcome::Disconnected);
                }
                Err(error) => {
                    tracing::warn!(%error, "the CRTC of the unplugged display cannot be turned off")
                }
                Ok(()) => {}
            }
            self.turn_off_pending = false;
            return Ok(HotplugOutcome::Disconnected);
        }
        let back = !self.connected;
        let (size, refresh) = self.pipeline.mode();
        let has_rate = self.pipeline.mode_for(Some(size), Some(refresh)).is_some();
        if back || !has_rate {
            // Another display may have modes of the same size with other refresh rates only.
            let request = self.pipeline.has_mode(size).then_some(ModeRequest {
                width: size.0,
                height: size.1,
                refresh_millihertz: has_rate.then_some(refresh),
            });
            self.reset();
            match self.set_mode(request) {
                Err(error) if FaultKind::of(&error) != FaultKind::Permanent => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the mode of the display cannot be set; the current mode is kept")
                }
                Ok(_) => {}
            }
            self.connected = true;
            self.turn_off_pending = false;
            self.preferred_mode_pending = false;
            self.abandon();
            return Ok(HotplugOutcome::Changed);
        }
        // The preferred mode may change, for example when the window of a virtual machine is resized. With a writeback, the mode
        // is kept, because the buffers of the writeback have its size.
        let follows_preferred = self.requested_mode.is_none() && self.writeback.is_none();
        if follows_preferred && self.pipeline.mode_for(None, None) != preferred {
            self.preferred_mode_pending = true;
        }
        if self.preferred_mode_pending {
            let old_mode = self.pipeline.mode();
            self.set_mode(None)?;
            self.preferred_mode_pending = false;
            if self.pipeline.mode() != old_mode {
                self.abandon();
                return Ok(HotplugOutcome::Changed);
            }
        }
        Ok(HotplugOutcome::Unchanged)
    }
}
