//! The session, in which devices are opened through a seat manager, or directly by root.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use calloop::{Dispatcher, EventLoop};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use smithay::backend::session::libseat::{
    Error as LibSeatError, LibSeatSession, LibSeatSessionNotifier,
};
use smithay::backend::session::{AsErrno, Session};

/// The longest time to wait until the seat manager activates the session.
const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(10);

/// A seat, through which devices are opened. Clones refer to the same seat.
#[derive(Clone, Debug)]
pub enum Seat {
    /// A seat of a seat manager, which also switches virtual terminals.
    Managed(LibSeatSession),
    /// Direct access by root on a machine without a seat manager.
    Direct,
}

impl Seat {
    /// Opens the seat of the seat manager, or uses direct access as root if there is none.
    ///
    /// The notifier of a managed seat must be added to an event loop. Dropping it closes the seat.
    ///
    /// # Errors
    ///
    /// When no seat manager provides a seat and the user is not root.
    pub fn take() -> anyhow::Result<(Self, Option<LibSeatSessionNotifier>)> {
        let has_seat_manager = ["/run/seatd.sock", "/run/systemd/seats/seat0"]
            .iter()
            .any(|path| Path::new(path).exists())
            || std::env::var_os("SEATD_SOCK").is_some()
            || std::env::var_os("LIBSEAT_BACKEND").is_some();
        let root = rustix::process::geteuid().is_root();
        if root && !has_seat_manager {
            return Ok((Self::Direct, None));
        }
        match LibSeatSession::new() {
            Ok((session, notifier)) => {
                let notifier = await_activation(&session, notifier)?;
                Ok((Self::Managed(session), Some(notifier)))
            }
            Err(error) if root => {
                tracing::warn!(%error, "the seat manager provides no seat; devices are opened as root");
                Ok((Self::Direct, None))
            }
            Err(error) => Err(error).context(
                "no seat is available: start seatd, log in on a console, or run as root on a machine without a seat manager",
            ),
        }
    }

    /// Returns whether the session is active, so that this process may be DRM master.
    pub fn is_active(&self) -> bool {
        match self {
            Self::Managed(session) => session.is_active(),
            Self::Direct => true,
        }
    }

    /// Switches to another virtual terminal.
    pub fn switch_console(&mut self, number: i32) {
        let switched = self.change_vt(number);
        if let Err(error) = switched {
            tracing::warn!(%error, number, "the virtual terminal cannot be switched");
        }
    }
}

/// Waits until the seat manager activates the session. No device can be opened before.
///
/// A session on a background virtual terminal stays inactive until the user switches to its terminal, so the wait has a time
/// limit.
fn await_activation(
    session: &LibSeatSession,
    notifier: LibSeatSessionNotifier,
) -> anyhow::Result<LibSeatSessionNotifier> {
    let mut event_loop: EventLoop<'_, ()> = EventLoop::try_new()?;
    let dispatcher = Dispatcher::new(notifier, |_, (), ()| {});
    let token = event_loop
        .handle()
        .register_dispatcher(dispatcher.clone())
        .context("the seat cannot be added to the event loop")?;
    let deadline = Instant::now() + ACTIVATION_TIMEOUT;
    while !session.is_active() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tracing::warn!(
                "the seat is not active, because another session is active; switch to this session's virtual terminal"
            );
            break;
        }
        event_loop
            .dispatch(Some(left), &mut ())
            .context("the connection to the seat manager failed")?;
    }
    event_loop.handle().remove(token);
    drop(event_loop);
    Ok(Dispatcher::into_source_inner(dispatcher))
}

impl Session for Seat {
    type Error = SeatError;

    fn open(&mut self, path: &Path, flags: OFlags) -> Result<OwnedFd, SeatError> {
        match self {
            Self::Managed(session) => session.open(path, flags).map_err(SeatError::from),
            Self::Direct => Ok(rustix::fs::open(
                path,
                flags | OFlags::CLOEXEC,
                Mode::empty(),
            )?),
        }
    }

    fn close(&mut self, fd: OwnedFd) -> Result<(), SeatError> {
        match self {
            Self::Managed(session) => session.close(fd).map_err(SeatError::from),
            Self::Direct => Ok(()),
        }
    }

    fn change_vt(&mut self, number: i32) -> Result<(), SeatError> {
        match self {
            Self::Managed(session) => session.change_vt(number).map_err(SeatError::from),
            Self::Direct => Err(Errno::NOTSUP.into()),
        }
    }

    fn is_active(&self) -> bool {
        Self::is_active(self)
    }

    fn seat(&self) -> String {
        match self {
            Self::Managed(session) => session.seat(),
            Self::Direct => "seat0".to_owned(),
        }
    }
}

/// An error of the kernel or of the seat manager.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(transparent)]
pub struct SeatError(#[from] Errno);

impl From<SeatError> for std::io::Error {
    fn from(error: SeatError) -> Self {
        error.0.into()
    }
}

impl AsErrno for SeatError {
    fn as_errno(&self) -> Option<i32> {
        Some(self.0.raw_os_error())
    }
}

impl From<LibSeatError> for SeatError {
    fn from(error: LibSeatError) -> Self {
        error.as_errno().map_or(Self(Errno::NODEV), |errno| {
            Self(Errno::from_raw_os_error(errno))
        })
    }
}
