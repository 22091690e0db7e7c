//! Which failures pass by themselves, and how long to wait before trying again.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustix::io::Errno;

use crate::dmabuf::FramebufferRejection;
use crate::kms::KmsError;

/// What a failure says of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The same request may succeed a moment later: EBUSY, EINTR, EAGAIN, ENOMEM and their like.
    Transient,
    /// Another program is DRM master, as while the session is switched away.
    NotMaster,
    /// The same request fails again as long as nothing else changes.
    Permanent,
}

impl FaultKind {
    /// Judges an error by the first answer of the kernel in its chain of causes; one without any is permanent.
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

    /// Judges what the kernel answered.
    pub fn of_io(error: &io::Error) -> Self {
        Self::of(error)
    }

    fn of_errno(errno: Errno) -> Self {
        match errno {
            // ENFILE, EMFILE and ENOBUFS pass when others give back what they hold, as ENOMEM does.
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

    /// Tells whether the same request may succeed a moment later.
    pub fn is_transient(self) -> bool {
        self == Self::Transient
    }
}

/// Returns the kernel's answer that an error itself holds.
fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    if let Some(errno) = error.downcast_ref::<Errno>() {
        return Some(*errno);
    }
    if let Some(KmsError::Kernel { error, .. }) = error.downcast_ref::<KmsError>() {
        return errno(error);
    }
    let error = error.downcast_ref::<io::Error>()?;
    if let Some(number) = error.raw_os_error() {
        return Some(Errno::from_raw_os_error(number));
    }
    // An io::Error that wraps another names its inner error's cause as its own, and so hides the inner error.
    let mut next = error.get_ref().map(|inner| inner as &(dyn Error + 'static));
    while let Some(inner) = next {
        if let Some(errno) = errno(inner) {
            return Some(errno);
        }
        next = inner.source();
    }
    None
}

/// Delays between attempts: each is twice the one before, up to the longest.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    attempts: u32,
}

impl Backoff {
    /// Begins with `first`, and never waits longer than `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            attempts: 0,
        }
    }

    /// Counts one more failure, and returns how long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.attempts).unwrap_or(u32::MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.first.saturating_mul(factor).min(self.longest)
    }

    /// Counts the failures since the last success.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Begins anew after a success.
    pub const fn reset(&mut self) {
        self.attempts = 0;
    }
}

impl Default for Backoff {
    /// From 2 ms, which is less than any display's refresh, to a second.
    fn default() -> Self {
        Self::new(Duration::from_millis(2), Duration::from_secs(1))
    }
}

/// Asks again at once, a few times, where the answer passes by itself: for requests that are made outside of the event loop.
///
/// # Errors
///
/// The last answer.
pub(crate) fn persist<T, E: Error + 'static>(
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
    fn errno_is_found_through_every_layer_of_causes() {
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
                source: errno,
            };
            let other = io::Error::other(access);
            assert_eq!(FaultKind::of_io(&other), kind, "{errno} of an access");
        }
        assert_eq!(FaultKind::of(&SubmitError::Paused), FaultKind::Permanent);
    }

    #[test]
    fn backoff_doubles_up_to_its_bound_and_begins_anew_after_a_success() {
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
    fn request_that_fails_for_good_is_made_once_and_a_passing_one_four_times() {
        for (errno, expected) in [(Errno::INVAL, 1), (Errno::NOMEM, 4)] {
            let mut made = 0;
            let answer: io::Result<()> = persist(|| {
                made += 1;
                Err(errno.into())
            });
            assert!(answer.is_err());
            assert_eq!(made, expected, "{errno}");
        }
    }
}
