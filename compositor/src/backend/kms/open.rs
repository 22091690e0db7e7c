//! Opens cards and their displays.

use covalent_alloc::text::printable_path;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use covalent_alloc::backend::drm::{Card, DrmError, PlaneKind};
use drm::control::Device as _;
use rustix::fs::OFlags;
use smithay::backend::session::Session;

use super::Kms;
use super::cursor::CursorBuffers;
use crate::backend::output_buffers::{OutputBufferError, OutputBuffers};
use crate::kms::{ConnectedDisplay, Event, KmsError, Pipeline, UsedObjects, read_events};
use crate::options::{Options, PlaneSelection};
use crate::plane_assignment::TestCache;
use crate::session::Seat;
use crate::transient::{FaultKind, retry_transient};
use crate::writeback::Writeback;

/// The reason why no display can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// `/dev/dri` has no card.
    #[error("there is no card in /dev/dri: load its driver, or use --backend headless")]
    NoCard,
    /// The configuration turns all connected displays off.
    #[error("--output turns off all connected displays: leave at least one of them on")]
    AllOff,
    /// A card device cannot be opened.
    #[error("{path} cannot be opened: {source}; check that it is a card and that this user has the seat", path = printable_path(path))]
    Open {
        /// The path of the card's device node.
        path: PathBuf,
        /// The error of opening the device node.
        #[source]
        source: std::io::Error,
    },
    /// An ioctl of the card failed.
    #[error(transparent)]
    Card(#[from] DrmError),
    /// Mode setting failed.
    #[error("{path}: {error}", path = printable_path(path))]
    Kms {
        /// The path of the card's device node.
        path: PathBuf,
        /// The error of mode setting.
        #[source]
        error: KmsError,
    },
    /// The output buffers cannot be allocated.
    #[error(transparent)]
    OutputBuffers(#[from] OutputBufferError),
    /// Writeback is not possible.
    #[error("--writeback: {0}")]
    Writeback(String),
    /// No card can be used. Each error is the reason of one card.
    #[error("no card can be used: {}", join_messages(.0))]
    EachOf(Vec<OpenError>),
}

/// Joins the messages of several errors by semicolons.
fn join_messages(errors: &[OpenError]) -> String {
    let messages: Vec<_> = errors.iter().map(ToString::to_string).collect();
    messages.join("; ")
}

/// A card that was opened through the seat. All its displays share it.
#[derive(Clone, Debug)]
pub struct OpenCard {
    card: Card,
    path: PathBuf,
    device: u64,
    session: Rc<SessionFd>,
}

/// The card's file descriptor from the seat. It is returned to the seat when the last display is dropped.
#[derive(Debug)]
pub(super) struct SessionFd {
    fd: Option<OwnedFd>,
    seat: Seat,
}

impl Drop for SessionFd {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.take() {
            let _ = self.seat.close(fd);
        }
    }
}

impl OpenCard {
    /// Opens the card of `--device`, or all cards, and all their displays.
    ///
    /// # Errors
    ///
    /// When no display can be used. With several displays, the error lists the reason of each.
    pub fn open_all(seat: &Seat, options: &Options) -> Result<(Vec<Self>, Vec<Kms>), OpenError> {
        let paths = match &options.device {
            Some(path) => vec![path.clone()],
            None => Card::list(),
        };
        let (mut cards, mut displays, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for path in paths {
            let card = match Self::open(seat, &path) {
                Ok(card) => card,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let before = displays.len();
            let opened =
                card.open_displays(&mut displays, options, UsedObjects::default(), |_| true);
            if let Err(error) = opened {
                tracing::info!(%error, "a card or a display cannot be used");
                errors.push(error);
            }
            // A card without a connected display is kept, because a display may be connected later. A card that has no
            // connectors is closed.
            if displays.len() > before || card.has_connectors() {
                cards.push(card);
            }
            if options.writeback.is_some() && !displays.is_empty() {
                break;
            }
        }
        if !displays.is_empty() {
            return Ok((cards, displays));
        }
        Err(match errors.len() {
            0 if cards.is_empty() => OpenError::NoCard,
            0 => OpenError::AllOff,
            1 => errors.swap_remove(0),
            _ => OpenError::EachOf(errors),
        })
    }

    /// Opens a card through the seat. Transient errors are retried a few times.
    fn open(seat: &Seat, path: &Path) -> Result<Self, OpenError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open_error = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        let mut seat = seat.clone();
        let fd = seat
            .open(path, flags)
            .map_err(|error| open_error(std::io::Error::from(error)))?;
        let session = Rc::new(SessionFd { fd: Some(fd), seat });
        // The event loop does not run yet, so no timer can retry the request. After a few attempts the failure is reported.
        retry_transient(|| {
            let fd = session.fd.as_ref().map(OwnedFd::try_clone);
            let fd = fd.ok_or_else(|| open_error(std::io::ErrorKind::NotFound.into()))?;
            let card = Card::from_fd(fd.map_err(open_error)?, path)?;
            Ok(Self {
                device: card.device_number()?,
                card,
                path: path.to_owned(),
                session: session.clone(),
            })
        })
    }

    /// Returns the card's device number.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// Returns the path of the card's device node.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Reads the pending events of all displays of the card.
    ///
    /// # Errors
    ///
    /// When the card was removed.
    pub fn read_events(&self) -> std::io::Result<Vec<Event>> {
        read_events(&self.card)
    }

    /// Returns whether the card has at least one connector, so that it may have a display.
    fn has_connectors(&self) -> bool {
        let resources = self.card.resource_handles();
        resources.is_ok_and(|resources| !resources.connectors().is_empty())
    }

    /// Opens the connected displays for which `is_wanted` returns true, and adds them to `displays`. A display that the
    /// configuration turns off is skipped. `used` has the CRTCs and planes that other displays of the card use.
    ///
    /// # Errors
    ///
    /// The reasons of all displays that cannot be used.
    pub fn open_displays(
        &self,
        displays: &mut Vec<Kms>,
        options: &Options,
        mut used: UsedObjects,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), OpenError> {
        let kms_error = |error| OpenError::Kms {
            path: self.path.clone(),
            error,
        };
        let connected =
            retry_transient(|| ConnectedDisplay::list(&self.card)).map_err(kms_error)?;
        let mut errors = Vec::new();
        for display in connected {
            let name = display.name();
            if !is_wanted(name) || options.config_of(name, &display.monitor(&self.card)).off {
                continue;
            }
            match retry_transient(|| self.open_display(&display, options, &used)) {
                Ok(kms) => {
                    kms.add_used_objects(&mut used);
                    displays.push(kms);
                }
                Err(error) => errors.push(error),
            }
            // The files of --writeback hold the frames of one display, so only one display is opened.
            if options.writeback.is_some() && !displays.is_empty() {
                break;
            }
        }
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.swap_remove(0)),
            _ => Err(OpenError::EachOf(errors)),
        }
    }

    /// Opens a display. `used` has the CRTCs and planes that other displays of the card use.
    ///
    /// # Errors
    ///
    /// When the card rejects a request, or has no CRTC or mode for the display.
    fn open_display(
        &self,
        display: &ConnectedDisplay,
        options: &Options,
        used: &UsedObjects,
    ) -> Result<Kms, OpenError> {
        let Self { card, path, .. } = self;
        let seat = &self.session.seat;
        let kms_error = |error| OpenError::Kms {
            path: path.clone(),
            error,
        };
        let mode = options
            .config_of(display.name(), &display.monitor(card))
            .mode;
        let size = mode.map(|mode| (mode.width, mode.height));
        let refresh = mode.and_then(|mode| mode.refresh_millihertz);
        let with_writeback = options.writeback.is_some();
        let pipeline = Pipeline::open(card.clone(), display, size, refresh, with_writeback, used)
            .map_err(kms_error)?;
        let primary = pipeline.planes().get(pipeline.primary());
        let formats = primary.map(|plane| plane.description().formats.clone());
        let formats = formats.unwrap_or_default();
        let planes = pipeline.planes().iter().map(|plane| {
            let mut description = plane.description().clone();
            if options.planes == PlaneSelection::Primary && description.kind != PlaneKind::Primary {
                description.formats.clear();
            }
            description
        });
        let planes = planes.collect();
        let (size, _) = pipeline.mode();
        let output_buffers = OutputBuffers::allocate(card, pipeline.plane(), size)?;
        // The test commit fails if another program is DRM master. Then the next card is tried.
        if seat.is_active() {
            let blank = pipeline.full_frame(output_buffers.blank().handle());
            match retry_transient(|| pipeline.test(&[blank])) {
                // A card that is only transiently busy is not an error; the first frame is retried.
                Err(error) if FaultKind::of(&error).is_transient() => {
                    tracing::warn!(%error, card = %path.display(), "the card is busy; the first frame is retried");
                }
                tested => tested.map_err(kms_error)?,
            }
        }
        let writeback = match (&options.writeback, pipeline.writeback()) {
            (None, _) => None,
            (Some(_), None) => {
                return Err(OpenError::Writeback(format!(
                    "{} ({}) has no writeback connector",
                    path.display(),
                    card.driver()
                )));
            }
            (Some(directory), Some(connector)) => Some(
                Writeback::new(card, connector, size, directory, options.writeback_every)
                    .map_err(|error| OpenError::Writeback(format!("{error:#}")))?,
            ),
        };
        Ok(Kms {
            pipeline,
            path: path.clone(),
            device: self.device,
            formats,
            planes,
            output_buffers,
            requested_mode: mode,
            match_mode: options.match_mode,
            in_flight: None,
            repeats_last: false,
            last_submitted: None,
            active: seat.is_active(),
            connected: true,
            turn_off_pending: false,
            preferred_mode_pending: false,
            tests: TestCache::default(),
            cursor_buffers: CursorBuffers::default(),
            writeback,
            seat: seat.clone(),
            session: self.session.clone(),
        })
    }
}
