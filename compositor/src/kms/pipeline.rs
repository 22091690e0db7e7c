//! Drives one connector and one CRTC with its planes: makes their atomic commits and reads their page-flip events.
//!
//! Several pipelines can share a card, but each connector, CRTC and plane belongs to one pipeline only.

mod open;
mod restore;

pub use open::{ConnectedDisplay, UsedObjects};

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use covalent_alloc::backend::drm::Card;
use drm::control::atomic::AtomicModeReq;
use drm::control::{
    AtomicCommitFlags, Device, Mode, RawResourceHandle, connector, crtc, framebuffer, plane,
};

use super::changes::{Change, changes};
use super::mode::{refresh_millihertz, select_mode};
use super::plane::{Plane, PlaneFrame, PlaneState, SourceRect};
use super::property::Properties;
use super::takeover::{StaleObjects, fill_neutral_connector, fill_neutral_crtc};
use super::writeback::{WritebackConnector, WritebackJob};
use super::{KmsError, kernel};
use crate::region::Rect;
use crate::transient::retry_transient;

/// The mode-setting objects of one display.
#[derive(Debug)]
pub struct Pipeline {
    card: Card,
    connector: connector::Handle,
    name: String,
    crtc: crtc::Handle,
    /// The planes, from the bottom to the top of the stacking order.
    planes: Vec<Plane>,
    /// The index of the primary plane in `planes`.
    primary: usize,
    modes: Vec<Mode>,
    mode: Mode,
    mode_blob: u64,
    connector_properties: Properties,
    crtc_properties: Properties,
    counts_vblanks: bool,
    needs_modeset: bool,
    /// The state of each plane after the last commit, in the order of `planes`. It is not valid while `needs_modeset` is set.
    committed: Vec<Option<PlaneState>>,
    initial_state: InitialState,
    writeback: Option<WritebackConnector>,
}

/// The state of the display before the compositor changed it.
#[derive(Debug)]
struct InitialState {
    mode: Option<Mode>,
}

/// The contents of the next atomic commit.
#[derive(Clone, Copy, Debug)]
pub struct FrameState<'a> {
    /// The states of the planes that show something. All other planes are turned off.
    pub planes: &'a [PlaneFrame<'a>],
    /// The framebuffer that the writeback connector writes, if the commit has a writeback.
    pub writeback: Option<&'a WritebackJob>,
}

/// A DRM event of the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The frame that was submitted last is on the display.
    PageFlip {
        /// The CRTC of the display.
        crtc: crtc::Handle,
        /// The time of the page flip on `CLOCK_MONOTONIC`; zero if the card does not report it.
        time: Duration,
        /// The vblank counter; 0 if the CRTC does not count vblanks.
        sequence: u32,
    },
}

impl Pipeline {
    /// Returns the card of the pipeline.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Returns the connector's name, for example `Virtual-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the CRTC of the pipeline.
    pub fn crtc(&self) -> crtc::Handle {
        self.crtc
    }

    /// Returns the planes, from the bottom to the top of the stacking order.
    pub fn planes(&self) -> &[Plane] {
        &self.planes
    }

    /// Returns the index of the primary plane in [`planes`](Self::planes).
    pub fn primary(&self) -> usize {
        self.primary
    }

    /// Returns the handle of the primary plane.
    pub fn plane(&self) -> plane::Handle {
        self.planes[self.primary].handle()
    }

    /// Returns the size in pixels and the refresh rate in millihertz of the mode.
    pub fn mode(&self) -> ((u16, u16), u32) {
        (self.mode.size(), refresh_millihertz(&self.mode))
    }

    /// Returns whether the CRTC has a vblank counter, and therefore flips at vblank.
    pub fn counts_vblanks(&self) -> bool {
        self.counts_vblanks
    }

    /// Returns whether the primary plane has the property `IN_FENCE_FD`.
    pub fn supports_in_fence(&self) -> bool {
        self.planes[self.primary].supports_in_fence()
    }

    /// Returns the writeback connector; `None` if it was not requested or the card has none.
    pub fn writeback(&self) -> Option<&WritebackConnector> {
        self.writeback.as_ref()
    }

    /// Returns whether the display has a mode of that size.
    pub fn has_mode(&self, size: (u16, u16)) -> bool {
        self.modes.iter().any(|mode| mode.size() == size)
    }

    /// Returns the size and refresh rate, as [`mode`](Self::mode) does, of the mode that would be selected for a request.
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

    /// Makes the next commit set all properties, because another DRM master may have changed them.
    pub fn reset(&mut self) {
        self.needs_modeset = true;
    }

    /// Returns the primary plane's state for a framebuffer that has the size of the mode.
    pub fn full_frame(&self, framebuffer: framebuffer::Handle) -> PlaneFrame<'static> {
        let (width, height) = self.mode.size();
        let whole = Rect::of_size(width.into(), height.into());
        PlaneFrame {
            plane: self.primary,
            state: PlaneState {
                framebuffer,
                source: SourceRect::whole(whole),
                destination: whole,
                yuv: None,
                hotspot: (0, 0),
            },
            has_new_content: false,
            damage: None,
            in_fence: None,
        }
    }

    /// Makes a test-only commit of a frame.
    ///
    /// # Errors
    ///
    /// When the kernel rejects the commit.
    pub fn test(&self, planes: &[PlaneFrame<'_>]) -> Result<(), KmsError> {
        let frame = FrameState {
            planes,
            writeback: None,
        };
        let mut request = AtomicModeReq::new();
        self.fill_frame(&mut request, &frame, None)?;
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
        let primary = frame
            .planes
            .iter()
            .find(|plane| plane.plane == self.primary);
        let mut damage_blob = None;
        if let (Some(damage), false) = (primary.and_then(|plane| plane.damage), self.needs_modeset)
        {
            if self.planes[self.primary].takes_damage() {
                let clip = [damage.x, damage.y, damage.right(), damage.bottom()];
                // If the blob cannot be created, the driver treats the whole framebuffer as damaged, which only costs time.
                damage_blob = blob(&self.card, &clip).ok();
            }
        }
        let filled = self.fill_frame(&mut request, frame, damage_blob);
        let mut flags = AtomicCommitFlags::NONBLOCK | AtomicCommitFlags::PAGE_FLIP_EVENT;
        if self.needs_modeset {
            flags |= AtomicCommitFlags::ALLOW_MODESET;
        }
        let result = filled.and_then(|()| {
            let committed = self.card.atomic_commit(flags, request);
            committed.map_err(kernel("the commit of the frame"))
        });
        if let Some(blob) = damage_blob {
            // The kernel holds its own reference to the blob.
            let _ = self.card.destroy_property_blob(blob);
        }
        result?;
        self.needs_modeset = false;
        self.committed = vec![None; self.planes.len()];
        for plane in frame.planes {
            if let Some(committed) = self.committed.get_mut(plane.plane) {
                *committed = Some(plane.state);
            }
        }
        Ok(())
    }

    /// Adds the properties of a frame to an atomic request. `damage` is the FB_DAMAGE_CLIPS blob of the primary plane.
    fn fill_frame(
        &self,
        request: &mut AtomicModeReq,
        frame: &FrameState<'_>,
        damage: Option<u64>,
    ) -> Result<(), KmsError> {
        let crtc = u64::from(u32::from(self.crtc));
        if self.needs_modeset {
            self.fill_modeset(request, crtc)?;
        }
        let changes = changes(&self.committed, frame.planes, self.needs_modeset);
        for (index, (plane, change)) in self.planes.iter().zip(changes).enumerate() {
            match change {
                Change::Keep => {}
                Change::TurnOff => plane.fill_disabled(request)?,
                Change::Show(next) => {
                    let damage = damage.filter(|_| index == self.primary);
                    if let Some(next) = frame.planes.get(next) {
                        plane.fill(request, crtc, next, damage)?;
                    }
                }
            }
        }
        if let (Some(writeback), Some(job)) = (&self.writeback, frame.writeback) {
            writeback.fill(request, job)?;
        }
        Ok(())
    }

    /// Adds the properties that a modeset sets: the mode, neutral values of the colour properties, and the objects that other
    /// programs left on, which are turned off.
    fn fill_modeset(&self, request: &mut AtomicModeReq, crtc: u64) -> Result<(), KmsError> {
        let own_planes: Vec<plane::Handle> = self.planes.iter().map(Plane::handle).collect();
        let own_connectors: Vec<RawResourceHandle> = self
            .writeback
            .iter()
            .map(WritebackConnector::handle)
            .collect();
        let display = (self.connector, self.crtc);
        let stale_objects = retry_transient(|| {
            StaleObjects::read(&self.card, display, &own_planes, &own_connectors)
        })?;
        stale_objects.fill_disabled(request)?;
        self.connector_properties.set(request, "CRTC_ID", crtc)?;
        self.crtc_properties
            .set(request, "MODE_ID", self.mode_blob)?;
        self.crtc_properties.set(request, "ACTIVE", 1)?;
        fill_neutral_connector(&self.connector_properties, request);
        fill_neutral_crtc(&self.crtc_properties, request);
        for plane in &self.planes {
            plane.fill_neutral(request);
        }
        match &self.writeback {
            Some(writeback) => writeback.attach(request, crtc),
            None => Ok(()),
        }
    }

    /// Returns the EDID of the display as it was when the pipeline was opened.
    pub fn edid(&self) -> Option<Vec<u8>> {
        let blob = self
            .connector_properties
            .value("EDID")
            .filter(|id| *id != 0)?;
        retry_transient(|| self.card.get_property_blob(blob)).ok()
    }
}

/// Reads the pending events of all displays of a card. Does not block if the descriptor is readable.
///
/// # Errors
///
/// When the card cannot be read, for example because it was removed.
pub fn read_events(card: &Card) -> io::Result<Vec<Event>> {
    let events = match card.receive_events() {
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
    let flips = events.filter_map(|event| match event {
        drm::control::Event::PageFlip(flip) => Some(Event::PageFlip {
            crtc: flip.crtc,
            time: flip.duration,
            sequence: flip.frame,
        }),
        _ => None,
    });
    Ok(flips.collect())
}

impl AsFd for Pipeline {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.card.as_fd()
    }
}

/// Creates a property blob.
fn blob<T>(card: &Card, data: &T) -> Result<u64, KmsError> {
    card.create_property_blob(data)
        .map(u64::from)
        .map_err(kernel("creating a property blob"))
}
