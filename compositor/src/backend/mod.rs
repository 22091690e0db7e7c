//! The backends: KMS, which drives a display, and headless, which has a virtual output.

use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::sync::SyncDevice;

use crate::cursor::CursorLayer;
use crate::dmabuf::{ClientBuffer, SupportedFormats};
use crate::edid::Monitor;
use crate::kms::KmsError;
use crate::output_view::OutputId;
use crate::region::Rect;
use crate::scanout::{ScanoutRejection, primary_candidate};
use crate::scene::SceneLayer;
use crate::swapchain::Swapchain;
use crate::syncobj::TimelineDevice;
use crate::transient::retry_transient;

pub mod headless;
pub mod kms;
pub mod output_buffers;
mod plan;

pub use plan::{DrawnContent, PlanePlan, ScannedOut};

use headless::Headless;
use kms::Kms;

/// The size and refresh rate of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The width in pixels.
    pub width: i32,
    /// The height in pixels.
    pub height: i32,
    /// The refresh rate in millihertz.
    pub refresh_millihertz: u32,
}

impl Mode {
    /// Returns the rectangle of the output in pixels.
    pub const fn rect(self) -> Rect {
        Rect::of_size(self.width, self.height)
    }

    /// Returns the time between two refreshes.
    pub fn period(self) -> Duration {
        Duration::from_nanos(1_000_000_000_000 / u64::from(self.refresh_millihertz.max(1)))
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}x{}", self.width, self.height)
    }
}

/// A page flip: the time at which a frame became visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The time of the page flip on `CLOCK_MONOTONIC`.
    pub time: Duration,
    /// The vblank counter; 0 if the output does not count vblanks.
    pub sequence: u32,
    /// Whether the flip was synchronised to vblank.
    pub synchronised: bool,
    /// Whether the hardware reported the completion and its time.
    pub by_hardware: bool,
}

/// The reason why a frame cannot be submitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The output accepts no frames: the session is paused, or the display is unplugged.
    #[error("the output accepts no frames: the session is paused or the display is unplugged")]
    Paused,
    /// The card rejected the frame.
    #[error("{device} rejected a frame")]
    Card {
        /// The name of the card that rejected the frame.
        device: String,
        /// The error of the commit.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The reason why the mode cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModeError {
    /// The card rejected the mode.
    #[error("the mode cannot be changed: {0}")]
    Card(#[from] KmsError),
    /// Output buffers of the mode's size cannot be allocated.
    #[error("the mode cannot be changed: {0}")]
    OutputBuffers(#[from] output_buffers::OutputBufferError),
}

/// The backend of one output.
#[derive(Debug)]
pub enum Backend {
    /// The headless backend, a virtual output.
    Headless(Headless),
    /// The KMS backend, a display of a card.
    Kms(Box<Kms>),
}

impl Backend {
    /// Returns the output's name, for example `Virtual-1`.
    pub fn name(&self) -> &str {
        match self {
            Self::Headless(headless) => headless.name(),
            Self::Kms(kms) => kms.name(),
        }
    }

    /// Returns the path of the card's device node; `None` for a virtual output.
    pub fn device(&self) -> Option<&std::path::Path> {
        match self {
            Self::Headless(_) => None,
            Self::Kms(kms) => Some(kms.path()),
        }
    }

    /// Returns the current mode.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Headless(headless) => headless.mode(),
            Self::Kms(kms) => kms.mode(),
        }
    }

    /// Returns the formats for direct scanout and the main device, for dma-buf feedback.
    pub fn supported_formats(&self) -> SupportedFormats {
        match self {
            Self::Headless(headless) => SupportedFormats {
                device: headless::device(),
                scanout: headless.scanout().to_vec(),
                ..SupportedFormats::default()
            },
            Self::Kms(kms) => kms.supported_formats(),
        }
    }

    /// Returns whether the display can scan out a buffer. Creates the buffer's framebuffer if the size fits.
    pub fn can_scan_out(&self, buffer: &ClientBuffer) -> bool {
        match self {
            Self::Headless(_) => false,
            Self::Kms(kms) => kms.can_scan_out(buffer),
        }
    }

    /// Returns whether a frame can be submitted now: the output accepts frames, and no frame and no writeback is pending.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Headless(headless) => headless.is_idle(),
            Self::Kms(kms) => kms.is_idle(),
        }
    }

    /// Sets the identifier of the output.
    pub(crate) fn set_output(&mut self, id: OutputId) {
        match self {
            Self::Headless(headless) => headless.set_output(id),
            Self::Kms(_) => {}
        }
    }

    /// Returns the identity of the monitor.
    pub fn monitor(&self) -> Monitor {
        match self {
            Self::Headless(headless) => Monitor::unknown(headless.name()),
            Self::Kms(kms) => kms.monitor(),
        }
    }

    /// Returns whether a display is connected.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Headless(_) => true,
            Self::Kms(kms) => kms.is_connected(),
        }
    }

    /// Returns whether the output accepts frames: the session is active and the display is connected.
    pub fn is_on(&self) -> bool {
        match self {
            Self::Headless(_) => true,
            Self::Kms(kms) => kms.is_on(),
        }
    }

    /// Forgets the submitted frame, whose page flip is no longer awaited.
    pub fn abandon(&mut self) {
        match self {
            Self::Headless(headless) => headless.abandon(),
            Self::Kms(kms) => kms.abandon(),
        }
    }

    /// Makes the next commit set all properties of the display pipeline.
    pub fn reset(&mut self) {
        match self {
            Self::Headless(_) => {}
            Self::Kms(kms) => kms.reset(),
        }
    }

    /// Returns the swapchain of output buffers.
    pub fn swapchain(&mut self) -> &mut Swapchain {
        match self {
            Self::Headless(headless) => headless.swapchain(),
            Self::Kms(kms) => kms.swapchain(),
        }
    }

    /// Assigns the visible layers, which are sorted from the bottom to the top, and the pointer to planes.
    ///
    /// # Errors
    ///
    /// When a test commit fails transiently, so that another attempt may succeed.
    pub fn plan(
        &mut self,
        visible: &[SceneLayer],
        cursor: Option<&CursorLayer>,
    ) -> Result<PlanePlan, ScanoutRejection> {
        match self {
            Self::Headless(headless) => {
                let output = headless.mode().rect();
                let reasons = visible.iter().map(|layer| {
                    let rejection = primary_candidate(layer, output).err();
                    let rejection = rejection.unwrap_or(ScanoutRejection::VirtualOutput);
                    rejection.to_string()
                });
                let of_cursor = ScanoutRejection::VirtualOutput.to_string();
                let of_cursor = cursor.map(|_| of_cursor.as_str());
                Ok(PlanePlan::drawn(reasons, of_cursor))
            }
            Self::Kms(kms) => kms.plan(visible, cursor),
        }
    }

    /// Records that the display rejected a frame with this assignment of planes, so that the assignment is not chosen again.
    pub fn reject(&mut self, plan: &PlanePlan, reason: String) {
        if let Self::Kms(kms) = self {
            kms.reject(plan, reason);
        }
    }

    /// Returns whether the display can wait for a fence before it shows a framebuffer (IN_FENCE_FD).
    pub fn supports_in_fence(&self) -> bool {
        match self {
            Self::Headless(_) => false,
            Self::Kms(kms) => kms.supports_in_fence(),
        }
    }

    /// Returns the device for syncobj timelines; `None` if the card cannot signal an eventfd for a timeline point.
    pub fn sync_device(&self) -> Option<Rc<dyn TimelineDevice>> {
        match self {
            Self::Headless(headless) => headless.timelines(),
            Self::Kms(kms) => match retry_transient(|| SyncDevice::new(kms.card())) {
                Ok(device) if device.support().eventfd => Some(Rc::new(device)),
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%error, "the card cannot be opened for syncobjs; clients get no explicit synchronisation");
                    None
                }
            },
        }
    }

    /// Submits a frame; returns the id of the framebuffer on the primary plane, or `None` on a virtual output.
    ///
    /// # Errors
    ///
    /// When the output is paused, or the card rejects the frame.
    pub fn submit(
        &mut self,
        plan: &PlanePlan,
        drawn: DrawnContent<'_>,
    ) -> Result<Option<u32>, SubmitError> {
        match self {
            Self::Headless(headless) => headless.submit().map(|()| None),
            Self::Kms(kms) => kms.submit(plan, drawn).map(Some),
        }
    }

    /// Returns whether the backend has a black output buffer. A frame without surfaces then need not be composited.
    pub fn has_blank_buffer(&self) -> bool {
        match self {
            Self::Headless(_) => false,
            Self::Kms(_) => true,
        }
    }

    /// Changes the mode to the size of a fullscreen buffer, or back to the requested mode if `size` is `None`; returns whether
    /// the mode changed.
    ///
    /// # Errors
    ///
    /// When the card fails. Nothing changes then.
    pub fn match_size(&mut self, size: Option<(i32, i32)>) -> Result<bool, ModeError> {
        match self {
            Self::Headless(_) => Ok(false),
            Self::Kms(kms) => kms.match_size(size),
        }
    }

    /// Returns the KMS backend; `None` for a virtual output.
    pub fn kms(&mut self) -> Option<&mut Kms> {
        match self {
            Self::Headless(_) => None,
            Self::Kms(kms) => Some(kms),
        }
    }

    /// Handles the page flip of the frame that was submitted last.
    pub fn flipped(&mut self) {
        match self {
            Self::Headless(headless) => headless.flipped(),
            Self::Kms(kms) => kms.flipped(),
        }
    }
}
