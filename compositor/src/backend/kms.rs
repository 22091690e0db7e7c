//! The KMS backend. It shows clients' buffers by direct scanout, or the compositor's output buffers.

mod cursor;
mod mode;
mod open;
mod planes;

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::backend::drm::{Card, DrmError, PlaneKind};
use covalent_alloc::model::FormatModifier;
use covalent_protocols::FormatEntry;
use drm::control::crtc;

use crate::backend::output_buffers::OutputBuffers;
use crate::backend::{DrawnContent, Mode, PlanePlan, SubmitError};
use crate::clock;
use crate::dmabuf::{ClientBuffer, SupportedFormats};
use crate::edid::Monitor;
use crate::kms::{
    Event, FrameState, KmsError, Pipeline, Plane, PlaneDescription, PlaneFrame, UsedObjects,
    read_events,
};
use crate::options::ModeRequest;
use crate::plane_assignment::TestCache;
use crate::region::Rect;
use crate::render::PixelFormat;
use crate::render::gles::GpuOutputBuffer;
use crate::session::Seat;
use crate::swapchain::Swapchain;
use crate::writeback::Writeback;

use cursor::CursorBuffers;

use open::SessionFd;
pub use open::{OpenCard, OpenError};

/// The KMS backend.
#[derive(Debug)]
pub struct Kms {
    pipeline: Pipeline,
    path: PathBuf,
    device: u64,
    formats: Vec<FormatModifier>,
    /// The planes of the pipeline. A plane that must not be used has an empty list of formats.
    planes: Rc<[PlaneDescription]>,
    output_buffers: OutputBuffers,
    requested_mode: Option<ModeRequest>,
    match_mode: bool,
    /// The time at which the pending frame was submitted; `None` if no page flip is pending.
    in_flight: Option<Duration>,
    /// Whether the pending frame repeats the frame on the display for its writeback.
    repeats_last: bool,
    /// The planes that were submitted last, and the inode of the dma-buf on the primary plane.
    last_submitted: Option<(Vec<PlaneFrame<'static>>, u64)>,
    active: bool,
    connected: bool,
    /// Whether the display was unplugged and its CRTC still has to be turned off.
    turn_off_pending: bool,
    /// Whether the preferred mode of the display has changed and still has to be set.
    preferred_mode_pending: bool,
    /// The cached results of test commits. They are valid for the current mode and state of the card.
    tests: TestCache,
    cursor_buffers: CursorBuffers,
    writeback: Option<Writeback>,
    seat: Seat,
    /// Keeps the seat's file descriptor of the card open.
    #[allow(dead_code)] // dropped to close the card
    session: Rc<SessionFd>,
}

/// The result of a hotplug event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HotplugOutcome {
    /// The display is connected as before, and its mode is unchanged.
    Unchanged,
    /// The display was disconnected, and the page flip of the pending frame is no longer awaited.
    Disconnected,
    /// The display was connected again, or has another mode. The page flip of the pending frame is no longer awaited.
    Changed,
}

impl Kms {
    /// Returns the card that drives the display.
    pub fn card(&self) -> &Card {
        self.pipeline.card()
    }

    /// Returns the seat through which the card was opened.
    pub fn seat(&mut self) -> &mut Seat {
        &mut self.seat
    }

    /// Returns the card's device number.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Returns the writeback capture, if it is enabled.
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

    /// Returns the formats that the primary plane and the overlay planes can show. A YUV format counts only for overlay planes
    /// that can convert it.
    pub(super) fn supported_formats(&self) -> SupportedFormats {
        let entry = |format: &FormatModifier| FormatEntry {
            fourcc: format.fourcc.0,
            modifier: format.modifier.0,
        };
        let overlays = self.planes.iter();
        let overlays = overlays.filter(|plane| plane.kind == PlaneKind::Overlay);
        let shows = |plane: &PlaneDescription, entry: &FormatEntry| {
            let format = PixelFormat::from_fourcc(entry.fourcc);
            plane.converts_yuv || !format.is_some_and(PixelFormat::is_yuv)
        };
        let overlay = overlays.flat_map(|plane| {
            let entries = plane.formats.iter().map(entry);
            entries.filter(move |entry| shows(plane, entry))
        });
        SupportedFormats {
            device: self.device,
            scanout: self.formats.iter().map(entry).collect(),
            overlay: overlay.collect(),
            sampled: Vec::new(),
        }
    }

    /// Returns whether a frame can be submitted: the display is on, and it waits for neither a page flip nor a writeback.
    pub(super) fn is_idle(&self) -> bool {
        self.active
            && self.connected
            && self.in_flight.is_none()
            && self.writeback.as_ref().is_none_or(Writeback::is_idle)
    }

    /// Returns whether frames can be submitted: the session is active and the display is connected.
    pub(super) fn is_on(&self) -> bool {
        self.active && self.connected
    }

    /// Returns whether a display is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Returns the description of the monitor according to its EDID.
    pub(super) fn monitor(&self) -> Monitor {
        let edid = self.pipeline.edid();
        edid.and_then(|edid| Monitor::parse(&edid))
            .unwrap_or_else(|| Monitor::unknown(self.name()))
    }

    /// Forgets the submitted frame, whose page flip is no longer awaited.
    pub(super) fn abandon(&mut self) {
        self.in_flight = None;
        self.repeats_last = false;
        self.last_submitted = None;
        self.swapchain().abandoned();
    }

    /// Makes the next commit set all properties of the pipeline.
    pub(super) fn reset(&mut self) {
        self.pipeline.reset();
        self.tests.clear();
    }

    pub(super) fn swapchain(&mut self) -> &mut Swapchain {
        self.output_buffers.swapchain()
    }

    /// Returns the formats and modifiers of the primary plane.
    pub fn plane_formats(&self) -> &[FormatModifier] {
        &self.formats
    }

    /// Adds output buffers that the GPU renders to. They are dropped when the mode's size changes.
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

    /// Returns whether the primary plane can show a buffer. Creates the buffer's framebuffer if its size fits.
    pub(super) fn can_scan_out(&self, buffer: &ClientBuffer) -> bool {
        let fits = |size| {
            size == self.pipeline.mode().0 || self.match_mode && self.pipeline.has_mode(size)
        };
        self.formats.contains(&buffer.buffer().layout().format())
            && self.size_of(buffer).is_some_and(fits)
            && buffer.framebuffer(self.card()).is_ok()
    }

    /// Returns the size of a buffer in pixels; `None` if a side exceeds 65535 pixels.
    fn size_of(&self, buffer: &ClientBuffer) -> Option<(u16, u16)> {
        let extent = buffer.buffer().layout().extent();
        Some((
            u16::try_from(extent.width()).ok()?,
            u16::try_from(extent.height()).ok()?,
        ))
    }

    /// Returns whether the display can wait for a fence before it shows a framebuffer (IN_FENCE_FD).
    pub(super) fn supports_in_fence(&self) -> bool {
        self.pipeline.supports_in_fence()
    }

    /// Returns the rectangle of the mode, which is also that of the output buffers.
    fn mode_rect(&self) -> Rect {
        let (width, height) = self.pipeline.mode().0;
        Rect::of_size(width.into(), height.into())
    }

    /// Commits a frame; returns the id of the framebuffer on the primary plane.
    pub(super) fn submit(
        &mut self,
        plan: &PlanePlan,
        drawn: DrawnContent<'_>,
    ) -> Result<u32, SubmitError> {
        let primary = self.pipeline.primary();
        let mut planes: Vec<PlaneFrame<'_>> = plan.frames.clone();
        let mut buffer = plan
            .scanned_out
            .first()
            .and_then(|shown| shown.content.dmabuf())
            .map_or(0, |dmabuf| dmabuf.buffer().identity().0);
        match drawn {
            DrawnContent::Output {
                index,
                damage,
                in_fence,
            } => {
                let framebuffer = self
                    .output_buffers
                    .framebuffer(index)
                    .ok_or(SubmitError::Paused)?;
                let bounds = damage.bounds();
                let mut frame = self.pipeline.full_frame(framebuffer.handle());
                frame.has_new_content = !bounds.is_empty();
                frame.damage = (!bounds.is_empty()).then_some(bounds);
                buffer = framebuffer.identity().0;
                planes.push(PlaneFrame { in_fence, ..frame });
            }
            DrawnContent::Blank => {
                let framebuffer = self.output_buffers.blank();
                buffer = framebuffer.identity().0;
                planes.push(self.pipeline.full_frame(framebuffer.handle()));
            }
            DrawnContent::Nothing => {}
        }
        let shown = planes.iter().find(|frame| frame.plane == primary);
        let shown = shown.map_or(0, |frame| u32::from(frame.state.framebuffer));
        self.submit_frame(&planes, buffer)
            .map_err(|source| SubmitError::Card {
                device: self.path.display().to_string(),
                source: source.into(),
            })?;
        self.repeats_last = false;
        self.cursor_buffers.submitted(plan.cursor_framebuffer);
        let again = planes.into_iter().map(|frame| PlaneFrame {
            plane: frame.plane,
            state: frame.state,
            has_new_content: true,
            damage: None,
            in_fence: None,
        });
        self.last_submitted = Some((again.collect(), buffer));
        Ok(shown)
    }

    /// Submits a frame with these planes, and with a writeback if one is requested. `buffer` is the inode of the shown dma-buf.
    fn submit_frame(&mut self, planes: &[PlaneFrame<'_>], buffer: u64) -> Result<(), KmsError> {
        let job = match self.writeback.as_ref().map(Writeback::next_job) {
            None => None,
            Some(job) => job.map_err(|error| KmsError::Picture(error.into()))?,
        };
        self.pipeline.submit(&FrameState {
            planes,
            writeback: job.as_ref().map(|(_, job)| job),
        })?;
        if let (Some(writeback), Some((index, job))) = (&mut self.writeback, job) {
            writeback.submitted(index, job.into_fence(), buffer);
        }
        self.in_flight = Some(clock::now());
        Ok(())
    }

    /// Submits the frame on the display again for its writeback. Returns whether the submission succeeded.
    pub fn resubmit_for_writeback(&mut self) -> bool {
        if self.in_flight.is_some() || !self.active || !self.connected {
            return false;
        }
        let Some((planes, buffer)) = self.last_submitted.take() else {
            return false;
        };
        let submitted = self.submit_frame(&planes, buffer);
        self.last_submitted = Some((planes, buffer));
        match submitted {
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

    /// Reads the pending events of all displays of the card.
    ///
    /// # Errors
    ///
    /// When the card was removed.
    pub fn read_events(&self) -> std::io::Result<Vec<Event>> {
        read_events(self.pipeline.card())
    }

    /// Returns the CRTC of the display.
    pub fn crtc(&self) -> crtc::Handle {
        self.pipeline.crtc()
    }

    /// Adds the CRTC and the planes of the display to `used`.
    pub(crate) fn add_used_objects(&self, used: &mut UsedObjects) {
        used.crtcs.push(self.pipeline.crtc());
        let planes = self.pipeline.planes().iter().map(Plane::handle);
        used.planes.extend(planes);
    }

    /// Returns whether the CRTC has a vblank counter.
    pub fn counts_vblanks(&self) -> bool {
        self.pipeline.counts_vblanks()
    }

    /// Records that the submitted frame is on the display now.
    pub(super) fn flipped(&mut self) {
        // The page flip of an abandoned frame must not count for another frame.
        if self.in_flight.take().is_none() {
            return;
        }
        if !std::mem::take(&mut self.repeats_last) {
            self.output_buffers.flipped();
            self.cursor_buffers.flipped();
        }
    }

    /// Stops submitting frames, because another program becomes DRM master.
    pub fn pause(&mut self) {
        self.active = false;
    }

    /// Resumes submitting frames. The next commit sets all properties of the pipeline.
    pub fn resume(&mut self) {
        self.active = true;
        self.abandon();
        self.reset();
        self.output_buffers.swapchain().damage_all();
    }
}

impl Drop for Kms {
    fn drop(&mut self) {
        if self.active {
            self.pipeline.restore();
        }
    }
}
