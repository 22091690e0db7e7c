//! Opening a card and its display.

use covalent_alloc::text::printable_path;
use std::path::{Path, PathBuf};

use covalent_alloc::backend::drm::{Card, DrmError};
use rustix::fs::OFlags;
use smithay::backend::session::Session;

use super::Kms;
use crate::backend::output_buffers::{OutputBufferError, OutputBuffers};
use crate::kms::{KmsError, Pipeline};
use crate::options::Options;
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
    /// A card cannot be opened.
    #[error("{path} cannot be opened: {source}; check that it is a card and that this user has the seat", path = printable_path(path))]
    Open {
        /// The card.
        path: PathBuf,
        /// The kernel's error.
        #[source]
        source: std::io::Error,
    },
    /// A request to the card failed.
    #[error(transparent)]
    Card(#[from] DrmError),
    /// Mode setting failed.
    #[error("{path}: {error}", path = printable_path(path))]
    Kms {
        /// The card.
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
    /// No card can be used; each has its own reason.
    #[error("no card can be used: {}", join_messages(.0))]
    EachOf(Vec<OpenError>),
}

fn join_messages(errors: &[OpenError]) -> String {
    let messages: Vec<_> = errors.iter().map(ToString::to_string).collect();
    messages.join("; ")
}

impl Kms {
    /// Opens the card of `--device`, or the first card with a connected display.
    ///
    /// # Errors
    ///
    /// When no card can be used; with several cards, the error lists the reason of each.
    pub fn open(mut seat: Seat, options: &Options) -> Result<Self, OpenError> {
        if let Some(path) = &options.device {
            return Self::open_card(&mut seat, path, options);
        }
        let mut errors = Vec::new();
        for path in Card::list() {
            match Self::open_card(&mut seat, &path, options) {
                Ok(kms) => return Ok(kms),
                Err(error) => {
                    tracing::info!(%error, "a card cannot be used");
                    errors.push(error);
                }
            }
        }
        Err(match errors.len() {
            0 => OpenError::NoCard,
            1 => errors.swap_remove(0),
            _ => OpenError::EachOf(errors),
        })
    }

    fn open_card(seat: &mut Seat, path: &Path, options: &Options) -> Result<Self, OpenError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let open_error = |source| OpenError::Open {
            path: path.to_owned(),
            source,
        };
        let session_fd = seat
            .open(path, flags)
            .map_err(|error| open_error(std::io::Error::from(error)))?;
        // The event loop does not run yet, so no timer can retry. After a few attempts the failure is reported.
        let opened = retry_transient(|| {
            session_fd
                .try_clone()
                .map_err(open_error)
                .and_then(|fd| Self::open_pipeline(seat, fd, path, options))
        });
        match opened {
            Ok(mut kms) => {
                kms.session_fd = Some(session_fd);
                Ok(kms)
            }
            Err(error) => {
                let _ = seat.close(session_fd);
                Err(error)
            }
        }
    }

    fn open_pipeline(
        seat: &Seat,
        fd: std::os::fd::OwnedFd,
        path: &Path,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let kms_error = |error| OpenError::Kms {
            path: path.to_owned(),
            error,
        };
        let card = Card::from_fd(fd, path)?;
        let size = options.mode.map(|mode| (mode.width, mode.height));
        let refresh = options.mode.and_then(|mode| mode.refresh_millihertz);
        let with_writeback = options.writeback.is_some();
        let pipeline =
            Pipeline::open(card.clone(), size, refresh, with_writeback).map_err(kms_error)?;
        let formats = card.plane_formats(pipeline.plane())?;
        let device = card.device_number()?;
        let (size, _) = pipeline.mode();
        let output_buffers = OutputBuffers::allocate(&card, pipeline.plane(), size)?;
        // The test commit fails if another program is DRM master; the next card can be tried then.
        if seat.is_active() {
            match retry_transient(|| pipeline.test(output_buffers.blank().handle())) {
                // A card that is busy only for a while is retried with the first frame.
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
                Writeback::new(&card, connector, size, directory, options.writeback_every)
                    .map_err(|error| OpenError::Writeback(format!("{error:#}")))?,
            ),
        };
        Ok(Self {
            pipeline,
            path: path.to_owned(),
            device,
            formats,
            output_buffers,
            requested_mode: options.mode,
            match_mode: options.match_mode,
            in_flight: None,
            repeats_last: false,
            last_submitted: None,
            active: seat.is_active(),
            connected: true,
            turn_off_pending: false,
            mode_generation: 0,
            writeback,
            seat: seat.clone(),
            session_fd: None,
        })
    }
}
