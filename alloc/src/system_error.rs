//! The error of a system call.

use std::{error, fmt, io};

use rustix::io::Errno;

/// The error number that a system call returned, such as `EINVAL`.
///
/// Unlike [`io::Error`], it can be compared and copied, so error types with a field of this type can be compared and copied too.
///
/// # References
/// errno(3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SystemError(Errno);

impl SystemError {
    /// Returns the number, such as 22 for `EINVAL`.
    #[must_use]
    pub fn raw_os_error(self) -> i32 {
        self.0.raw_os_error()
    }

    /// Returns the kind that the standard library gives the number.
    #[must_use]
    pub fn kind(self) -> io::ErrorKind {
        self.0.kind()
    }

    pub(crate) fn errno(self) -> Errno {
        self.0
    }
}

impl fmt::Display for SystemError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, out)
    }
}

impl fmt::Debug for SystemError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

impl error::Error for SystemError {}

#[doc(hidden)]
impl From<Errno> for SystemError {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}

impl From<SystemError> for io::Error {
    fn from(error: SystemError) -> Self {
        error.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_error_keeps_the_number_as_an_io_error() {
        let error = SystemError::from(Errno::INVAL);
        assert_eq!(error.raw_os_error(), 22);
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(io::Error::from(error).raw_os_error(), Some(22));
        assert_eq!(error.to_string(), "Invalid argument (os error 22)");
    }
}
