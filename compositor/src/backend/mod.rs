//! The backends: a display by KMS, or a virtual output.

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::sync::SyncDevice;

use crate::content::Content;
use crate::dmabuf::{ClientBuffer, SupportedFormats};
use crate::kms::KmsError;
use crate::region::{Rect, Region};
use crate::scanout::ScanoutRejection;
use crate::swapchain::Swapchain;
use crate::syncobj::TimelineDevice;
use crate::transient::retry_transient;

pub mod headless;
pub mod kms;
pub mod output_buffers;

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

    /// Returns the refresh period.
    pub fn period(self) -> Duration {
        Duration::from_nanos(1_000_000_000_000 / u64::from(self.refresh_millihertz.max(1)))
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}x{}", self.width, self.height)
    }
}

/// A page flip: a frame is on the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// The time on `CLOCK_MONOTONIC`.
    pub time: Duration,
    /// The vblank counter; 0 where the output does not count vblanks.
    pub sequence: u32,
    /// Whether the flip was synchronised to vertical blanking.
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
        /// The card.
        device: String,
        /// The error of the card.
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

/// A backend.
#[derive(Debug)]
pub enum Backend {
    /// A virtual output.
    Headless(Headless),
    /// A display by KMS.
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

    /// Returns the device node; `None` when there is none.
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
            Self::Headless(_) => SupportedFormats {
                device: headless::device(),
                scanout: Vec::new(),
                sampled: Vec::new(),
            },
            Self::Kms(kms) => kms.supported_formats(),
        }
    }

    /// Returns whether the display can scan a buffer out. Creates its framebuffer if the size fits a mode.
    pub fn can_scan_out(&self, buffer: &ClientBuffer) -> bool {
        match self {
            Self::Headless(_) => false,
            Self::Kms(kms) => kms.can_scan_out(buffer),
        }
    }

    /// Returns whether a frame can be submitted now.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Headless(headless) => headless.is_idle(),
            Self::Kms(kms) => kms.is_idle(),
        }
    }

    /// Returns the time at which the frame in flight was submitted; `None` if no frame is in flight.
    pub fn in_flight_since(&self) -> Option<Duration> {
        match self {
            Self::Headless(headless) => headless.in_flight_since(),
            Self::Kms(kms) => kms.in_flight_since(),
        }
    }

    /// Abandons the frame in flight, whose page-flip event is no longer expected.
    pub fn abandon(&mut self) {
        match self {
            Self::Headless(headless) => headless.abandon(),
            Self::Kms(kms) => kms.abandon(),
        }
    }

    /// Makes the next commit set the whole state of the display.
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

    /// Submits a client's buffer for direct scanout; returns the id of its framebuffer.
    ///
    /// # Errors
    ///
    /// When the display cannot scan the buffer out.
    pub fn submit_scanout(&mut self, content: &Content) -> Result<u32, ScanoutRejection> {
        match self {
            Self::Headless(_) => Err(ScanoutRejection::VirtualOutput),
            Self::Kms(kms) => kms.submit_scanout(content),
        }
    }

    /// Returns whether the display can wait for a fence before it shows a framebuffer.
    pub fn supports_in_fence(&self) -> bool {
        match self {
            Self::Headless(_) => false,
            Self::Kms(kms) => kms.supports_in_fence(),
        }
    }

    /// Returns the device for syncobj timelines; `None` if the card cannot wait for their points by an eventfd.
    pub fn sync_device(&self) -> Option<Rc<dyn TimelineDevice>> {
        match self {
            Self::Headless(headless) => headless.timelines(),
            Self::Kms(kms) => match retry_transient(|| SyncDevice::new(kms.card())) {
                Ok(device) if device.support().eventfd => Some(Rc::new(device)),
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%error, "clients get no explicit synchronisation: the card cannot be opened for syncobjs");
                    None
                }
            },
        }
    }

    /// Submits the output buffer at `index` of the swapchain; returns the id of its framebuffer, or `None` on a virtual output.
    ///
    /// `in_fence` is signalled when the buffer is complete. It may be set only if
    /// [`supports_in_fence`](Self::supports_in_fence) returns true.
    ///
    /// # Errors
    ///
    /// When the output is paused, or the card rejects the frame.
    pub fn submit_composed(
        &mut self,
        index: usize,
        damage: &Region,
        in_fence: Option<BorrowedFd<'_>>,
    ) -> Result<Option<u32>, SubmitError> {
        match self {
            Self::Headless(headless) => headless.submit().map(|()| None),
            Self::Kms(kms) => kms.submit_composed(index, damage, in_fence),
        }
    }

    /// Submits the black output buffer; `None` if the backend has none, so that the frame has to be composed.
    ///
    /// # Errors
    ///
    /// When the card rejects the frame.
    pub fn submit_blank(&mut self) -> Option<Result<u32, SubmitError>> {
        match self {
            Self::Headless(_) => None,
            Self::Kms(kms) => Some(kms.submit_blank()),
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
