//! Where frames go: a display, or nowhere.

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::Duration;

use covalent_alloc::sync::SyncDevice;

use crate::content::Content;
use crate::direct::WhyNot;
use crate::dmabuf::{ClientBuffer, Offer};
use crate::kms::KmsError;
use crate::region::{Rect, Region};
use crate::swapchain::Swapchain;
use crate::syncobj::Timelines;
use crate::transient::persist;

pub mod headless;
pub mod kms;
pub mod pictures;

use headless::Headless;
use kms::Kms;

/// The size and rate of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Pixels a row.
    pub width: i32,
    /// Rows.
    pub height: i32,
    /// Pictures a second, in thousandths.
    pub refresh_millihertz: u32,
}

impl Mode {
    /// Returns the output's pixels.
    pub const fn rect(self) -> Rect {
        Rect::of_size(self.width, self.height)
    }

    /// Returns the time from one picture to the next.
    pub fn period(self) -> Duration {
        Duration::from_nanos(1_000_000_000_000 / u64::from(self.refresh_millihertz.max(1)))
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}x{}", self.width, self.height)
    }
}

/// A frame is on the display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flip {
    /// When it was, on `CLOCK_MONOTONIC`.
    pub time: Duration,
    /// The display's count of refreshes; 0 where it does not count.
    pub sequence: u32,
    /// Whether the change fell between two refreshes.
    pub synchronised: bool,
    /// Whether the hardware took the time, and said when it was done.
    pub by_hardware: bool,
}

/// Why a frame cannot go to the display.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The output takes nothing at the moment: paused, or unplugged.
    #[error("the output takes no frames at the moment")]
    Paused,
    /// The card refused the frame.
    #[error("{device} refused a frame")]
    Card {
        /// The card.
        device: String,
        /// What it answered.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why the mode cannot be changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModeError {
    /// The card does not take the mode.
    #[error("the mode cannot be changed: {0}")]
    Card(#[from] KmsError),
    /// There are no pictures of its size.
    #[error("the mode cannot be changed: {0}")]
    Pictures(#[from] pictures::PictureError),
}

/// A place where frames go.
#[derive(Debug)]
pub enum Backend {
    /// A virtual display.
    Headless(Headless),
    /// A display.
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

    /// Returns the mode that is set.
    pub fn mode(&self) -> Mode {
        match self {
            Self::Headless(headless) => headless.mode(),
            Self::Kms(kms) => kms.mode(),
        }
    }

    /// Returns what can be shown without composition, for clients to know.
    pub fn offer(&self) -> Offer {
        match self {
            Self::Headless(_) => Offer {
                device: headless::device(),
                scanout: Vec::new(),
                sampled: Vec::new(),
            },
            Self::Kms(kms) => kms.offer(),
        }
    }

    /// Tells whether the display could show the buffer as it is; finds out for good where the size is the mode's.
    pub fn takes(&self, buffer: &ClientBuffer) -> bool {
        match self {
            Self::Headless(_) => false,
            Self::Kms(kms) => kms.takes(buffer),
        }
    }

    /// Tells whether a frame can be submitted now.
    pub fn is_idle(&self) -> bool {
        match self {
            Self::Headless(headless) => headless.is_idle(),
            Self::Kms(kms) => kms.is_idle(),
        }
    }

    /// Returns when the frame was submitted of which the display has not told yet that it is shown.
    pub fn in_flight_since(&self) -> Option<Duration> {
        match self {
            Self::Headless(headless) => headless.in_flight_since(),
            Self::Kms(kms) => kms.in_flight_since(),
        }
    }

    /// Gives up on the frame in flight: the display will not tell of it.
    pub fn abandon(&mut self) {
        match self {
            Self::Headless(headless) => headless.abandon(),
            Self::Kms(kms) => kms.abandon(),
        }
    }

    /// Sets everything that the display is set to again with the next frame.
    pub fn reset(&mut self) {
        match self {
            Self::Headless(_) => {}
            Self::Kms(kms) => kms.reset(),
        }
    }

    /// Returns the compositor's own pictures.
    pub fn swapchain(&mut self) -> &mut Swapchain {
        match self {
            Self::Headless(headless) => headless.swapchain(),
            Self::Kms(kms) => kms.swapchain(),
        }
    }

    /// Puts a client's buffer on the display; returns the kernel's number of its framebuffer.
    ///
    /// # Errors
    ///
    /// Why the display cannot take it.
    pub fn submit_direct(&mut self, content: &Content) -> Result<u32, WhyNot> {
        match self {
            Self::Headless(_) => Err(WhyNot::VirtualOutput),
            Self::Kms(kms) => kms.submit_direct(content),
        }
    }

    /// Tells whether the display waits for a fence by itself before it shows a picture.
    pub fn takes_fences(&self) -> bool {
        match self {
            Self::Headless(_) => false,
            Self::Kms(kms) => kms.takes_fences(),
        }
    }

    /// Returns the card as one that has timelines, and can wait for their points by an event loop; `None` where it cannot.
    pub fn sync_device(&self) -> Option<Rc<dyn Timelines>> {
        match self {
            Self::Headless(headless) => headless.timelines(),
            Self::Kms(kms) => match persist(|| SyncDevice::new(kms.card())) {
                Ok(device) if device.support().eventfd => Some(Rc::new(device)),
                Ok(_) => None,
                Err(error) => {
                    tracing::warn!(%error, "clients get no explicit synchronisation");
                    None
                }
            },
        }
    }

    /// Puts the picture at `place` of the swapchain on the display; returns the kernel's number of its framebuffer.
    ///
    /// Where [`takes_fences`](Self::takes_fences) says so, `drawn` is a fence that is signalled when the picture is complete.
    ///
    /// # Errors
    ///
    /// When the output is paused, or the card refuses.
    pub fn submit_picture(
        &mut self,
        place: usize,
        damage: &Region,
        drawn: Option<BorrowedFd<'_>>,
    ) -> Result<Option<u32>, SubmitError> {
        match self {
            Self::Headless(headless) => headless.submit().map(|()| None),
            Self::Kms(kms) => kms.submit_picture(place, damage, drawn),
        }
    }

    /// Shows nothing, without drawing; `None` where that has to be drawn.
    ///
    /// # Errors
    ///
    /// When the card refuses.
    pub fn submit_blank(&mut self) -> Option<Result<u32, SubmitError>> {
        match self {
            Self::Headless(_) => None,
            Self::Kms(kms) => Some(kms.submit_blank()),
        }
    }

    /// Makes the mode fit a fullscreen buffer of that size, or the display's own when there is none; tells whether it changed.
    ///
    /// # Errors
    ///
    /// When the card fails for a moment; everything stays as it is then.
    pub fn match_size(&mut self, size: Option<(i32, i32)>) -> Result<bool, ModeError> {
        match self {
            Self::Headless(_) => Ok(false),
            Self::Kms(kms) => kms.match_size(size),
        }
    }

    /// Returns the driven display, where there is one.
    pub fn kms(&mut self) -> Option<&mut Kms> {
        match self {
            Self::Headless(_) => None,
            Self::Kms(kms) => Some(kms),
        }
    }

    /// Notes that the frame that was submitted last is on the display.
    pub fn flipped(&mut self) {
        match self {
            Self::Headless(headless) => headless.flipped(),
            Self::Kms(kms) => kms.flipped(),
        }
    }
}
