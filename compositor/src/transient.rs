//! Classifies errors as transient or permanent, and computes the delays between attempts.

use std::error::Error;
use std::io;
use std::time::Duration;

use covalent_alloc::SystemError;
use rustix::io::Errno;

use crate::dmabuf::FramebufferRejection;
use crate::kms::KmsError;

/// Whether the same request may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The same request may succeed later: EBUSY, EINTR, EAGAIN, ENOMEM and similar errors.
    Transient,
    /// Another program is DRM master, for example because another session is active.
    NotMaster,
    /// The same request would fail again.
    Permanent,
}

impl FaultKind {
    /// Classifies an error by the first errno in its chain of sources. An error without an errno is permanent.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(errno) = errno(error) {
                return Self::of_errno(errno);
            }
            if let Some(rejection) = error.downcast_ref::<FramebufferRejection>() {
                return rejection.kind;
            }
            next = error.source();
        }
        Self::Permanent
    }

    /// Classifies an error of the kernel.
    pub fn of_io(error: &io::Error) -> Self {
        Self::of(error)
    }

    /// Classifies an error number.
    fn of_errno(errno: Errno) -> Self {
        match errno {
            // ENFILE, EMFILE and ENOBUFS are transient like ENOMEM: the request can succeed when other resources are freed.
            Errno::BUSY
            | Errno::INTR
            | Errno::AGAIN
            | Errno::NOMEM
            | Errno::DEADLK
            | Errno::NOBUFS
            | Errno::NFILE
            | Errno::MFILE
            | Errno::TIMEDOUT => Self::Transient,
            Errno::ACCESS | Errno::PERM => Self::NotMaster,
            _ => Self::Permanent,
        }
    }

    /// Returns whether the same request may succeed later.
    pub fn is_transient(self) -> bool {
        self == Self::Transient
    }
}

/// Returns the errno of an error itself, without its sources.
fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    if let Some(errno) = error.downcast_ref::<Errno>() {
        return Some(*errno);
    }
    if let Some(system) = error.downcast_ref::<SystemError>() {
        return Some(Errno::from_raw_os_error(system.raw_os_error()));
    }
    if let Some(KmsError::Kernel { error, .. }) = error.downcast_ref::<KmsError>() {
        return errno(error);
    }
    let error = error.downcast_ref::<io::Error>()?;
    if let Some(number) = error.raw_os_error() {
        return Some(Errno::from_raw_os_error(number));
    }
    // The source of an io::Error that wraps another error is the source of the wrapped error. So the wrapped error itself has to
    // be visited here.
    let mut next = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(inner) = next {
        if let Some(errno) = errno(inner) {
            return Some(errno);
        }
        next = inner.source();
    }
    None
}

/// Exponential backoff: each delay is twice the previous one, up to a maximum.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    /// Creates a backoff that starts with `first` and never exceeds `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempts: 0,
        }
    }

    /// Counts a failure. Returns the delay before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// Returns the number of failures since the last success.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Resets the number of failures after a success.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}

impl Default for Backoff {
    /// Starts with a delay of 2 ms, which is shorter than a refresh period, up to a delay of one second.
    fn default() -> Self {
        Self::new(Duration::from_millis(2), Duration::from_secs(1))
    }
}

/// Repeats a request that fails transiently, up to four times in total and without a delay. It is for requests outside of the
/// event loop.
///
/// # Errors
///
/// The error of the last attempt.
pub(crate) fn retry_transient<T, E: Error + 'static>(
    mut request: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    const ATTEMPTS: u32 = 4;
    for _ in 1..ATTEMPTS {
        match request() {
            Err(error) if FaultKind::of(&error).is_transient() => {}
            done => return done,
        }
    }
    request()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::SubmitError;
    use covalent_alloc::buffer::AccessError;

    fn refused(errno: Errno) -> SubmitError {
        SubmitError::Card {
            device: "card".to_owned(),
            source: Box::new(KmsError::Kernel {
                operation: "the commit of the frame",
                error: errno.into(),
            }),
        }
    }

    #[test]
    fn errno_in_nested_errors_is_found() {
        for (errno, kind) in [
            (Errno::BUSY, FaultKind::Transient),
            (Errno::INTR, FaultKind::Transient),
            (Errno::NOMEM, FaultKind::Transient),
            (Errno::AGAIN, FaultKind::Transient),
            (Errno::ACCESS, FaultKind::NotMaster),
            (Errno::PERM, FaultKind::NotMaster),
            (Errno::INVAL, FaultKind::Permanent),
            (Errno::NODEV, FaultKind::Permanent),
        ] {
            assert_eq!(FaultKind::of(&refused(errno)), kind, "{errno}");
            let wrapped = anyhow::Error::new(refused(errno)).context("a frame");
            assert_eq!(FaultKind::of(&*wrapped), kind, "{errno} in context");
            let access = AccessError::Sync {
                step: "start",
                origin: "a heap".to_owned(),
                source: errno.into(),
            };
            let other = io::Error::other(access);
            assert_eq!(FaultKind::of_io(&other), kind, "{errno} of an access");
        }
        assert_eq!(FaultKind::of(&SubmitError::Paused), FaultKind::Permanent);
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum_and_restarts_after_a_success() {
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..12)
            .map(|_| u64::try_from(backoff.next_delay().as_millis()).unwrap())
            .collect();
        assert_eq!(delays[..5], [2, 4, 8, 16, 32]);
        assert_eq!(delays[9..], [1000, 1000, 1000]);
        for _ in 0..100 {
            assert!(backoff.next_delay() <= Duration::from_secs(1));
        }
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::from_millis(2));
    }

    #[test]
    fn request_that_fails_permanently_is_made_once_and_a_transient_one_four_times() {
        for (errno, expected) in [(Errno::INVAL, 1), (Errno::NOMEM, 4)] {
            let mut attempts = 0;
            let result: io::Result<()> = retry_transient(|| {
                attempts += 1;
                Err(errno.into())
            });
            assert!(result.is_err());
            assert_eq!(attempts, expected, "{errno}");
        }
    }
}
