//! The KMS backend: shows clients' buffers by direct scanout, or the compositor's own output buffers.

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

/// The KMS backend.
#[derive(Debug)]
pub struct Kms {
    pipeline: Pipeline<Card>,
    path: PathBuf,
    device: u64,
    formats: Vec<FormatModifier>,
    output_buffers: OutputBuffers,
    requested_mode: Option<ModeRequest>,
    match_mode: bool,
    /// The time at which the frame in flight was submitted.
    in_flight: Option<Duration>,
    /// The frame in flight is the one on the display, submitted again for its writeback.
    repeats_last: bool,
    /// The framebuffer that was submitted last, and the inode of its dma-buf.
    last_submitted: Option<(framebuffer::Handle, u64)>,
    active: bool,
    connected: bool,
    /// The display was unplugged, and its CRTC is not turned off yet.
    turn_off_pending: bool,
    /// Incremented with each mode; test commits are valid only for the mode in which they passed.
    mode_generation: u64,
    writeback: Option<Writeback>,
    seat: Seat,
    /// The file descriptor of the seat manager, which has to be closed by it.
    session_fd: Option<std::os::fd::OwnedFd>,
}

/// The result of a hotplug event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotplugOutcome {
    /// Connection and mode are unchanged.
    Unchanged,
    /// The display was disconnected, and the frame in flight was abandoned.
    Disconnected,
    /// The display was connected again, or has another mode.
    Changed,
}

impl Kms {
    /// Returns the card.
    pub fn card(&self) -> &Card {
        self.pipeline.card()
    }

    /// Returns the seat by which the card was opened.
    pub fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    /// Returns the card's device number.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Returns the writeback, if it is enabled.
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

    /// Abandons the frame in flight. Pending events are discarded, so that they are not taken for events of another frame.
    pub(super) fn abandon(&mut self) {
        self.pipeline.discard_events();
        self.in_flight = None;
        self.repeats_last = false;
        self.last_submitted = None;
        self.swapchain().abandoned();
    }

    /// Makes the next commit set the whole state.
    pub(super) fn reset(&mut self) {
        self.pipeline.reset();
    }

    pub(super) fn swapchain(&mut self) -> &mut Swapchain {
        self.output_buffers.swapchain()
    }

    /// Returns the formats and modifiers of the primary plane.
    pub fn plane_formats(&self) -> &[FormatModifier] {
        &self.formats
    }

    /// Adds output buffers of the GPU, which are dropped when the mode's size changes.
    ///
    /// # Errors
    ///
    /// When the card rejects a framebuffer.
    pub fn add_gpu_buffers(
        &mut self,
        output_buffers: Vec<GpuOutputBuffer>,
    ) -> Result<(), DrmError> {
        self.output_buffers
            .add_gpu_buffers(self.pipeline.card(), output_buffers)
    }

    /// Returns whether the plane can show a buffer; creates its framebuffer in this case.
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

    /// Commits a client's buffer, after a test commit if none has passed in this mode.
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

    /// Returns whether the plane can wait for a fence before it shows a framebuffer.
    pub(super) fn supports_in_fence(&self) -> bool {
        self.pipeline.supports_in_fence()
    }

    /// Commits an output buffer, which is shown when `in_fence` is signalled.
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

    /// Commits the black output buffer.
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
        let job = match self.writeback.as_ref().map(Writeback::next_job) {
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

    /// Submits the frame on the display again for its writeback; returns whether that was possible.
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

    /// Reads the pending events of the card.
    ///
    /// # Errors
    ///
    /// When the card was removed.
    pub fn events(&self) -> std::io::Result<Vec<Event>> {
        self.pipeline.events()
    }

    /// Returns whether the CRTC counts vblanks.
    pub fn counts_vblanks(&self) -> bool {
        self.pipeline.counts_vblanks()
    }

    pub(super) fn flipped(&mut self) {
        // An event of an abandoned frame does not apply to another frame.
        if self.in_flight.take().is_none() {
            return;
        }
        if !std::mem::take(&mut self.repeats_last) {
            self.output_buffers.flipped();
        }
    }

    /// Changes the mode to the size of a fullscreen buffer, if `--match-mode` is set and the display has such a mode.
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
            // The refresh rate is kept if the size already matches.
            Some((size, _)) if matching.is_some() => size == before.0,
            Some(mode) => mode == before,
        };
        if is_current {
            return Ok(false);
        }
        Ok(self.set_mode(request)? && self.pipeline.mode() != before)
    }

    /// Sets a mode and allocates output buffers of its size. Nothing changes if this fails.
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
        // The buffers are allocated first, so that a failure leaves the mode unchanged.
        let card = self.pipeline.card().clone();
        let output_buffers = OutputBuffers::allocate(&card, self.pipeline.plane(), size)?;
        if !self.pipeline.set_mode(request, refresh)? {
            return Ok(false);
        }
        // The old buffers are kept until the display shows another frame.
        self.output_buffers.replace(output_buffers);
        self.mode_generation += 1;
        Ok(true)
    }

    /// Handles a hotplug event.
    ///
    /// # Errors
    ///
    /// When the card fails. A second call continues where this one failed.
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
            // The display shows nothing from now on, even if turning its CRTC off fails.
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
            let has_mode = self.pipeline.has_mode(size);
            let request = if has_mode {
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

    /// Stops submitting frames while another program is DRM master.
    pub fn pause(&mut self) {
        self.active = false;
    }

    /// Resumes submitting frames. The next commit sets the whole state.
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
