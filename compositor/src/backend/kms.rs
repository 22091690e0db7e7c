//! A display driven by kernel mode setting: clients' buffers where they fit, the compositor's own pictures else.

mod open;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use covalent_alloc::backend::drm::{Card, DrmError, Framebuffer};
use covalent_alloc::model::FormatModifier;
use covalent_protocols::FormatEntry;
use drm::control::framebuffer;
use smithay::backend::session::Session;

use crate::backend::output_buffers::OutputBuffers;
use crate::backend::{Mode, ModeError, SubmitError};
use crate::clock;
use crate::content::Content;
use crate::dmabuf::{ClientBuffer, SupportedFormats};
use crate::kms::{Event, FrameState, KmsError, Pipeline};
use crate::options::ModeRequest;
use crate::region::{Rect, Region};
use crate::render::gles::GpuOutputBuffer;
use crate::scanout::ScanoutRejection;
use crate::session::Seat;
use crate::swapchain::Swapchain;
use crate::transient::FaultKind;
use crate::writeback::Writeback;

pub use open::OpenError;

/// A driven display.
#[derive(Debug)]
pub struct Kms {
    pipeline: Pipeline<Card>,
    path: PathBuf,
    device: u64,
    formats: Vec<FormatModifier>,
    output_buffers: OutputBuffers,
    requested_mode: Option<ModeRequest>,
    match_mode: bool,
    /// When the frame in flight was submitted.
    in_flight: Option<Duration>,
    /// The frame in flight is the one on the display, shown again for its picture.
    repeats_last: bool,
    /// What was submitted last: its framebuffer, and the inode of its dma-buf.
    last_submitted: Option<(framebuffer::Handle, u64)>,
    active: bool,
    connected: bool,
    /// The display was unplugged, and the card could not be told yet.
    turn_off_pending: bool,
    /// Tests passed with another mode say nothing of this one.
    mode_generation: u64,
    writeback: Option<Writeback>,
    seat: Seat,
    /// The seat manager's own descriptor, which it wants back.
    session_fd: Option<std::os::fd::OwnedFd>,
}

/// What plugging or unplugging did to the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotplugOutcome {
    /// Nothing.
    Unchanged,
    /// It is gone, and the frame in flight with it.
    Disconnected,
    /// It is back, or has another mode.
    Changed,
}

impl Kms {
    /// Returns the card.
    pub fn card(&self) -> &Card {
        self.pipeline.card()
    }

    /// Returns the seat that the card was opened by.
    pub fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    /// Returns the card's device number.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Returns what is written back.
    pub fn writeback(&mut self) -> Option<&mut Writeback> {
        self.writeback.as_mut()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        self.pipeline.name()
    }

    pub(super) fn mode(&self) -> Mode {
        let ((width, height), refresh_millihertz) = self.pipeline.mode();
        Mode {
            width: i32::from(width),
            height: i32::from(height),
            refresh_millihertz,
        }
    }

    pub(super) fn supported_formats(&self) -> SupportedFormats {
        SupportedFormats {
            device: self.device,
            scanout: self
                .formats
                .iter()
                .map(|format| FormatEntry {
                    fourcc: format.fourcc.0,
                    modifier: format.modifier.0,
                })
                .collect(),
            sampled: Vec::new(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.active
            && self.connected
            && self.in_flight.is_none()
            && self.writeback.as_ref().is_none_or(Writeback::is_idle)
    }

    pub(super) fn in_flight_since(&self) -> Option<Duration> {
        self.in_flight
    }

    /// Gives up on the frame in flight. What the card told until now is read and forgotten, so that it does not count for
    /// another frame.
    pub(super) fn abandon(&mut self) {
        self.pipeline.discard_events();
        self.in_flight = None;
        self.repeats_last = false;
        self.last_submitted = None;
        self.swapchain().abandoned();
    }

    /// Sets everything again with the next frame.
    pub(super) fn reset(&mut self) {
        self.pipeline.reset();
    }

    pub(super) fn swapchain(&mut self) -> &mut Swapchain {
        self.output_buffers.swapchain()
    }

    /// Returns what the plane takes.
    pub fn plane_formats(&self) -> &[FormatModifier] {
        &self.formats
    }

    /// Takes pictures that the GPU draws to; they go when the mode's size changes.
    ///
    /// # Errors
    ///
    /// When the card makes no framebuffers of them.
    pub fn add_gpu_buffers(
        &mut self,
        output_buffers: Vec<GpuOutputBuffer>,
    ) -> Result<(), DrmError> {
        self.output_buffers
            .add_gpu_buffers(self.pipeline.card(), output_buffers)
    }

    /// Tells whether the plane could show a buffer, and imports it if so.
    pub(super) fn can_scan_out(&self, buffer: &ClientBuffer) -> bool {
        let fits = |size| {
            size == self.pipeline.mode().0 || self.match_mode && self.pipeline.has_mode(size)
        };
        self.check_format(buffer).is_ok()
            && self.size_of(buffer).is_some_and(fits)
            && buffer.framebuffer(self.card()).is_ok()
    }

    fn size_of(&self, buffer: &ClientBuffer) -> Option<(u16, u16)> {
        let extent = buffer.buffer().layout().extent();
        Some((
            u16::try_from(extent.width()).ok()?,
            u16::try_from(extent.height()).ok()?,
        ))
    }

    fn check_format(&self, buffer: &ClientBuffer) -> Result<(), ScanoutRejection> {
        let format = buffer.buffer().layout().format();
        if self.formats.contains(&format) {
            return Ok(());
        }
        Err(ScanoutRejection::Format {
            fourcc: format.fourcc.0,
            modifier: format.modifier.0,
        })
    }

    /// Shows a client's buffer.
    pub(super) fn submit_scanout(&mut self, content: &Content) -> Result<u32, ScanoutRejection> {
        let buffer = content.dmabuf().ok_or(ScanoutRejection::Shm)?;
        self.check_format(buffer)?;
        let device = || self.path.display().to_string();
        let framebuffer =
            buffer
                .framebuffer(self.card())
                .map_err(|rejection| ScanoutRejection::Framebuffer {
                    device: device(),
                    rejection,
                })?;
        if !buffer.is_tested(self.mode_generation) {
            self.pipeline
                .test(framebuffer.handle())
                .map_err(|source| ScanoutRejection::Test {
                    device: device(),
                    source,
                })?;
            buffer.mark_tested(self.mode_generation);
        }
        self.submit(framebuffer, None, None)
            .map_err(|source| ScanoutRejection::Commit {
                device: self.path.display().to_string(),
                source,
            })
    }

    /// Tells whether the display can wait for a fence before it shows a picture.
    pub(super) fn supports_in_fence(&self) -> bool {
        self.pipeline.supports_in_fence()
    }

    /// Shows one of the compositor's pictures, when the fence `drawn` is signalled.
    pub(super) fn submit_composed(
        &mut self,
        index: usize,
        damage: &Region,
        in_fence: Option<BorrowedFd<'_>>,
    ) -> Result<Option<u32>, SubmitError> {
        let framebuffer = self
            .output_buffers
            .framebuffer(index)
            .ok_or(SubmitError::Paused)?;
        let bounds = damage.bounds();
        self.submit(
            &framebuffer,
            (!bounds.is_empty()).then_some(bounds),
            in_fence,
        )
        .map(Some)
        .map_err(|source| SubmitError::Card {
            device: self.path.display().to_string(),
            source: source.into(),
        })
    }

    /// Shows nothing, by a picture that was never drawn to.
    pub(super) fn submit_blank(&mut self) -> Result<u32, SubmitError> {
        let framebuffer = self.output_buffers.blank();
        self.submit(&framebuffer, None, None)
            .map_err(|source| SubmitError::Card {
                device: self.path.display().to_string(),
                source: source.into(),
            })
    }

    fn submit(
        &mut self,
        framebuffer: &Framebuffer,
        damage: Option<Rect>,
        in_fence: Option<BorrowedFd<'_>>,
    ) -> Result<u32, KmsError> {
        let submitted = (framebuffer.handle(), framebuffer.identity().0);
        self.submit_frame(submitted, damage, in_fence)?;
        self.repeats_last = false;
        self.last_submitted = Some(submitted);
        Ok(u32::from(framebuffer.handle()))
    }

    fn submit_frame(
        &mut self,
        (framebuffer, buffer): (framebuffer::Handle, u64),
        damage: Option<Rect>,
        in_fence: Option<BorrowedFd<'_>>,
    ) -> Result<(), KmsError> {
        let job = match self.writeback.as_ref().map(Writeback::start) {
            None => None,
            Some(job) => job.map_err(|error| KmsError::Picture(error.into()))?,
        };
        self.pipeline.submit(&FrameState {
            framebuffer,
            damage,
            in_fence,
            writeback: job.as_ref().map(|(_, job)| job),
        })?;
        if let (Some(writeback), Some((index, job))) = (&mut self.writeback, job) {
            writeback.submitted(index, job.into_fence(), buffer);
        }
        self.in_flight = Some(clock::now());
        Ok(())
    }

    /// Asks again for the picture of the frame on the display; tells whether that was possible.
    pub fn resubmit_for_writeback(&mut self) -> bool {
        let Some(last_submitted) = self.last_submitted else {
            return false;
        };
        if self.in_flight.is_some() || !self.active || !self.connected {
            return false;
        }
        match self.submit_frame(last_submitted, None, None) {
            Ok(()) => {
                self.repeats_last = true;
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the frame cannot be submitted again for its writeback");
                false
            }
        }
    }

    /// Reads what the card told.
    ///
    /// # Errors
    ///
    /// When the card is gone.
    pub fn events(&self) -> std::io::Result<Vec<Event>> {
        self.pipeline.events()
    }

    /// Tells whether refreshes are counted.
    pub fn counts_vblanks(&self) -> bool {
        self.pipeline.counts_vblanks()
    }

    pub(super) fn flipped(&mut self) {
        // An event of a frame that was given up says nothing of any other.
        if self.in_flight.take().is_none() {
            return;
        }
        if !std::mem::take(&mut self.repeats_last) {
            self.output_buffers.flipped();
        }
    }

    /// Changes the mode to the size of a fullscreen buffer, if that was asked for and the display has it.
    pub(super) fn match_size(&mut self, size: Option<(i32, i32)>) -> Result<bool, ModeError> {
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
        let before = self.pipeline.mode();
        let is_current = match self.pipeline.mode_for(size, refresh) {
            None => true,
            // A fullscreen buffer of the mode's size is no reason to change the rate.
            Some((size, _)) if matching.is_some() => size == before.0,
            Some(mode) => mode == before,
        };
        if is_current {
            return Ok(false);
        }
        Ok(self.set_mode(request)? && self.pipeline.mode() != before)
    }

    /// Sets a mode and makes pictures of its size; everything stays as it is when that is not possible.
    fn set_mode(&mut self, request: Option<ModeRequest>) -> Result<bool, ModeError> {
        let before = self.pipeline.mode();
        let size = request.map(|mode| (mode.width, mode.height));
        let refresh = request.and_then(|mode| mode.refresh_millihertz);
        let Some((size, _)) = self.pipeline.mode_for(size, refresh) else {
            return Ok(false);
        };
        let request = request.map(|mode| (mode.width, mode.height));
        if size == before.0 {
            return Ok(self.pipeline.set_mode(request, refresh)?);
        }
        // Before the mode is changed, so that there is nothing to change back.
        let card = self.pipeline.card().clone();
        let output_buffers = OutputBuffers::allocate(&card, self.pipeline.plane(), size)?;
        if !self.pipeline.set_mode(request, refresh)? {
            return Ok(false);
        }
        // The old ones stay until the display shows something else.
        self.output_buffers.replace(output_buffers);
        self.mode_generation += 1;
        Ok(true)
    }

    /// Takes in that displays were plugged or unplugged.
    ///
    /// # Errors
    ///
    /// When the card fails; asked again, it does what is left to do.
    pub fn hotplug(&mut self) -> Result<HotplugOutcome, ModeError> {
        if !self.pipeline.probe()? {
            if self.connected {
                tracing::warn!(connector = self.name(), "the display was unplugged");
                self.connected = false;
                self.turn_off_pending = true;
            }
            if !self.turn_off_pending {
                return Ok(HotplugOutcome::Unchanged);
            }
            // Nothing of it is shown from now on, whether the card could be told so or not.
            let off = self.pipeline.turn_off();
            self.abandon();
            match off {
                Err(error) if FaultKind::of(&error).is_transient() => return Err(error.into()),
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
        if back || !self.pipeline.has_mode(size) {
            let kept = self.pipeline.has_mode(size);
            let request = if kept {
                Some(ModeRequest {
                    width: size.0,
                    height: size.1,
                    refresh_millihertz: Some(refresh),
                })
            } else {
                None
            };
            self.pipeline.reset();
            match self.set_mode(request) {
                Err(error) if FaultKind::of(&error) != FaultKind::Permanent => return Err(error),
                Err(error) => tracing::warn!(%error, "the mode cannot be set and stays as it was"),
                Ok(_) => {}
            }
            self.connected = true;
            self.turn_off_pending = false;
            return Ok(HotplugOutcome::Changed);
        }
        Ok(HotplugOutcome::Unchanged)
    }

    /// Stops showing frames while another program drives the display.
    pub fn pause(&mut self) {
        self.active = false;
    }

    /// Shows frames again; everything on the display is set anew.
    pub fn resume(&mut self) {
        self.active = true;
        self.abandon();
        self.pipeline.reset();
        self.output_buffers.swapchain().damage_all();
    }
}

impl Drop for Kms {
    fn drop(&mut self) {
        if self.active {
            self.pipeline.restore();
        }
        if let Some(fd) = self.session_fd.take() {
            let _ = self.seat.close(fd);
        }
    }
}
