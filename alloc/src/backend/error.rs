//! The common error type of all backends.

use std::error::Error;
use std::fmt;
use std::io;

use covalent_machine::trial_results::{Outcome, Refusal, RefusalKind};

use crate::SystemError;
use crate::text::Printable;

/// Why a backend operation failed.
///
/// It is displayed in one line with the device, the operation and, if there is one, the remedy. Its [`source`] chain leads to the
/// error of the kernel or the driver.
///
/// [`source`]: Error::source
pub struct BackendError {
    device: String,
    driver: String,
    operation: String,
    kind: BackendErrorKind,
    cause: Box<dyn Error + Send + Sync>,
}

crate::debug_as_display!(BackendError);

/// The kind of a failure. Each kind has another remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendErrorKind {
    /// The device cannot be opened, or is not a device of this backend.
    Open,
    /// Another program uses the device.
    Busy,
    /// The device was removed.
    Gone,
    /// There is too little memory, or too few file descriptors, at present.
    Exhausted,
    /// The plan is for another source.
    NotPlanned,
    /// The device's API cannot express this format, size or layout.
    Unsuitable,
    /// The kernel or the driver refused the operation.
    Refused,
    /// The operation succeeded, and its result is not what was requested.
    Unusable,
}

impl fmt::Display for BackendErrorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Open => "cannot be opened",
            Self::Busy => "is in use",
            Self::Gone => "is gone",
            Self::Exhausted => "does not have enough memory at present",
            Self::NotPlanned => "is not the source of the plan",
            Self::Unsuitable => "cannot express the format, size or layout",
            Self::Refused => "refused",
            Self::Unusable => "returned another result than requested",
        })
    }
}

impl BackendError {
    /// Makes an error for a failed `operation` on `device`, whose driver is `driver`.
    ///
    /// If the text of `cause` contains the name of the device, as the errors of this crate's backends do, only that text is
    /// displayed.
    pub fn new(
        device: impl Into<String>,
        driver: impl Into<String>,
        operation: impl Into<String>,
        kind: BackendErrorKind,
        cause: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self {
            device: device.into(),
            driver: driver.into(),
            operation: operation.into(),
            kind,
            cause: cause.into(),
        }
    }

    /// Returns the device: the path of its device node, or its name.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// Returns the driver's name in the kernel or the API; empty if it is not known.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Returns the operation, as the kernel or the API names it, such as `VIDIOC_REQBUFS`.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.operation
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> BackendErrorKind {
        self.kind
    }

    /// Returns the backend's own error, for callers that know the backend.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.cause
    }

    /// Returns the first errno in the chain of causes; `None` if there is no errno.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        let cause: &(dyn Error + 'static) = &*self.cause;
        errno_of(cause)
    }

    /// Returns the outcome of a trial that failed with this error: untestable if another program uses the device, otherwise a
    /// refusal.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let message = self.to_string();
        if self.kind == BackendErrorKind::Busy {
            return Outcome::Untestable(message);
        }
        let (device, operation) = (self.device.clone(), self.operation.clone());
        let mut refusal = match self.errno() {
            Some(errno) => Refusal::of_errno(device, operation, errno, message),
            None => Refusal::structural(device, operation, message),
        };
        if matches!(
            self.kind,
            BackendErrorKind::Exhausted | BackendErrorKind::Gone
        ) {
            refusal.kind = RefusalKind::Transient;
        }
        Outcome::Refused(refusal)
    }

    /// Returns this failure with the name of the operation that the failed call was a part of, such as `allocate` for a failed
    /// ioctl.
    #[must_use]
    pub(crate) fn in_operation(self, device: &str, operation: &str) -> Self {
        Self {
            device: device.to_owned(),
            operation: operation.to_owned(),
            ..self
        }
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.cause.to_string();
        if message.contains(&self.device) {
            return write!(out, "{}", Printable(&message));
        }
        write!(out, "{}", Printable(&self.device))?;
        if !self.driver.is_empty() {
            write!(out, " ({})", Printable(&self.driver))?;
        }
        write!(
            out,
            ": {} failed: {}",
            Printable(&self.operation),
            Printable(&message)
        )
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The message of this error contains the message of the cause, so the chain goes on with the source of the cause.
        self.cause.source()
    }
}

/// Returns the first errno among an error and its causes.
pub(crate) fn errno_of(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(inner) = cause {
        let errno = inner
            .downcast_ref::<SystemError>()
            .map(|error| error.raw_os_error())
            .or_else(|| inner.downcast_ref::<io::Error>()?.raw_os_error());
        if errno.is_some() {
            return errno;
        }
        cause = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use covalent_machine::trial_results::Cause;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct OuterError(&'static str, #[source] io::Error);

    fn error(kind: BackendErrorKind, errno: i32) -> BackendError {
        let cause = OuterError("outer", io::Error::from_raw_os_error(errno));
        BackendError::new("/dev/dri/card0", "vkms", "ADDFB2", kind, cause)
    }

    #[test]
    fn errno_is_found_among_the_causes() {
        let error = error(BackendErrorKind::Refused, 22);
        assert_eq!(error.errno(), Some(22));
        let outcome = error.outcome();
        let refusal = outcome.refusal().unwrap();
        assert_eq!(refusal.cause, Cause::Errno(22));
        assert_eq!(refusal.kind, RefusalKind::Structural);
        assert_eq!(refusal.words, "/dev/dri/card0 (vkms): ADDFB2 failed: outer");
    }

    #[test]
    fn message_that_names_the_device_is_displayed_unchanged() {
        let error = BackendError::new(
            "card0",
            "vkms",
            "open",
            BackendErrorKind::Open,
            "card0 cannot be opened\n",
        );
        assert_eq!(error.to_string(), "card0 cannot be opened\\n");
        assert_eq!(error.errno(), None);
    }

    #[test]
    fn device_in_use_is_untestable_and_removed_device_is_a_transient_refusal() {
        let busy = error(BackendErrorKind::Busy, 16).outcome();
        assert!(matches!(busy, Outcome::Untestable(_)), "{busy:?}");
        for kind in [BackendErrorKind::Gone, BackendErrorKind::Exhausted] {
            let outcome = error(kind, 19).outcome();
            assert_eq!(outcome.refusal().unwrap().kind, RefusalKind::Transient);
        }
    }
}
