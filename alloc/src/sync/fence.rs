//! Fences in the form of sync_files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs;
use rustix::io::{self, Errno};
use thiserror::Error;

use super::{Pollable, sys};
use crate::SystemError;

/// The file system type of anonymous inodes, which sync_files are.
///
/// # References
/// `linux/magic.h`, ANON_INODE_FS_MAGIC.
const ANONYMOUS: u64 = 0x0904_1934;

/// Why a file is not a sync_file, or a request on a sync_file failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The file is not a sync_file.
    #[error("the file descriptor is not a sync_file: {why}; its sender has to send a sync_file")]
    NotFence {
        /// The property of the file that shows that it is not a sync_file.
        why: String,
    },
    /// The kernel refused the request.
    #[error("{operation} on a sync_file failed: {source}{}", fd_limit_hint(*source))]
    Request {
        /// The ioctl or system call that failed.
        operation: &'static str,
        /// The kernel's error.
        source: SystemError,
    },
}

/// Returns the cause and the remedy, for the end of an error message, if the process or the system can open no more files;
/// otherwise an empty string.
pub(super) fn fd_limit_hint(source: SystemError) -> &'static str {
    match source.errno() {
        Errno::MFILE => "; the process has no file descriptors left, raise RLIMIT_NOFILE",
        Errno::NFILE => "; the system has no open files left, raise fs.file-max",
        _ => "",
    }
}

/// The status of a fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceStatus {
    /// The work that signals the fence has not ended.
    Unsignalled,
    /// The work has ended without an error.
    Signalled,
    /// The work has ended with an error. The contents of the buffer that it wrote are undefined.
    Failed(SystemError),
}

impl FenceStatus {
    fn of(status: i32) -> Self {
        match status {
            0 => Self::Unsignalled,
            1.. => Self::Signalled,
            // The status is a negative errno. The kernel's error numbers are 1 to 4095 (MAX_ERRNO), and any other number counts
            // as EIO.
            -4095..0 => Self::Failed(Errno::from_raw_os_error(status.saturating_neg()).into()),
            _ => Self::Failed(Errno::IO.into()),
        }
    }

    /// Returns the status of a fence that was merged from fences with these two statuses.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsignalled, _) | (_, Self::Unsignalled) => Self::Unsignalled,
            (Self::Failed(error), _) | (_, Self::Failed(error)) => Self::Failed(error),
            (Self::Signalled, Self::Signalled) => Self::Signalled,
        }
    }
}

/// One of the fences from which a sync_file was merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencePart {
    /// The name of the driver that signals the fence.
    pub driver: String,
    /// The name of the driver's timeline, usually a hardware queue.
    pub timeline: String,
    /// The status of this fence.
    pub status: FenceStatus,
    /// The time at which the fence signalled, on CLOCK_MONOTONIC; `None` while it is pending.
    pub signalled_at: Option<Duration>,
}

/// A sync_file. It signals once, when a device has finished, and stays signalled.
///
/// The file descriptor polls as readable when the fence is signalled, so any event loop can wait for it.
///
/// # References
/// `linux/sync_file.h`; kernel documentation, "Sync File API Guide".
#[derive(Debug)]
pub struct Fence {
    fd: OwnedFd,
}

impl AsFd for Fence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Pollable for Fence {}

impl From<Fence> for OwnedFd {
    fn from(fence: Fence) -> Self {
        fence.fd
    }
}

impl Fence {
    /// Imports a file descriptor that another process sent, after a check that it is a sync_file.
    ///
    /// The check reads the type of the file system first, so a CUSE device is refused before any ioctl is sent. The program that
    /// implements a CUSE device could return false results or block the ioctl.
    ///
    /// # Errors
    /// [`FenceError::NotFence`]; the file descriptor is closed.
    pub fn import(fd: OwnedFd) -> Result<Self, FenceError> {
        let found = fs::fstatfs(&fd).map_err(request_error("fstatfs"))?.f_type;
        let found = u64::try_from(found).unwrap_or(0);
        if found != ANONYMOUS {
            return Err(FenceError::NotFence {
                why: format!(
                    "its file system has the magic number 0x{found:x} and not 0x{ANONYMOUS:x}"
                ),
            });
        }
        match sys::status(fd.as_fd()) {
            Ok(_) => Ok(Self { fd }),
            Err(error) => Err(FenceError::NotFence {
                why: format!("SYNC_IOC_FILE_INFO returned {error}"),
            }),
        }
    }

    /// Wraps a sync_file that an ioctl has just returned, without a check.
    pub(super) fn from_kernel(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Duplicates the file descriptor.
    ///
    /// # Errors
    /// [`FenceError::Request`] if the process can open no more file descriptors.
    pub fn try_clone(&self) -> Result<Self, FenceError> {
        let fd = io::fcntl_dupfd_cloexec(&self.fd, 0).map_err(request_error("dup"))?;
        Ok(Self { fd })
    }

    /// Creates a fence that signals when both have signalled. It has an error if one of them has.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn merge(&self, other: &Self) -> Result<Self, FenceError> {
        sys::merge(self.as_fd(), other.as_fd())
            .map(Self::from_kernel)
            .map_err(request_error("SYNC_IOC_MERGE"))
    }

    /// Creates a fence that signals when all of these fences have signalled; `None` if there are no fences.
    ///
    /// # Errors
    /// The errors of [`Fence::merge`].
    pub fn merge_all<'fence>(
        fences: impl IntoIterator<Item = &'fence Self>,
    ) -> Result<Option<Self>, FenceError> {
        let mut fences = fences.into_iter();
        let Some(first) = fences.next() else {
            return Ok(None);
        };
        let mut merged = first.try_clone()?;
        for fence in fences {
            merged = merged.merge(fence)?;
        }
        Ok(Some(merged))
    }

    /// Queries the status. It does not wait.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn status(&self) -> Result<FenceStatus, FenceError> {
        let failed = request_error("SYNC_IOC_FILE_INFO");
        let (status, count) = sys::status(self.as_fd()).map_err(failed)?;
        if count <= 1 {
            return Ok(FenceStatus::of(status));
        }
        // The kernel copies the error of a part to the merged fence only when the merged fence is waited for. So each part is
        // queried.
        let parts = sys::parts(self.as_fd()).map_err(failed)?;
        Ok(parts
            .iter()
            .map(|part| FenceStatus::of(part.status))
            .fold(FenceStatus::Signalled, FenceStatus::and))
    }

    /// Lists the fences from which this sync_file was merged. If it was not merged, the list has one fence.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn parts(&self) -> Result<Vec<FencePart>, FenceError> {
        let parts = sys::parts(self.as_fd()).map_err(request_error("SYNC_IOC_FILE_INFO"))?;
        Ok(parts.into_iter().map(FencePart::from).collect())
    }

    /// Returns the time on CLOCK_MONOTONIC at which the last part of the fence signalled; `None` while a part is pending.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn signalled_at(&self) -> Result<Option<Duration>, FenceError> {
        let times: Option<Vec<Duration>> = self
            .parts()?
            .into_iter()
            .map(|part| part.signalled_at)
            .collect();
        Ok(times.and_then(|times| times.into_iter().max()))
    }
}

impl From<sys::RawFencePart> for FencePart {
    fn from(part: sys::RawFencePart) -> Self {
        let status = FenceStatus::of(part.status);
        Self {
            driver: part.driver,
            timeline: part.timeline,
            status,
            signalled_at: (status != FenceStatus::Unsignalled)
                .then(|| Duration::from_nanos(part.timestamp_ns)),
        }
    }
}

fn request_error(operation: &'static str) -> impl Fn(Errno) -> FenceError + Copy {
    move |source| FenceError::Request {
        operation,
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_of_a_file_that_is_not_a_sync_file_is_refused() {
        let memfd = fs::memfd_create("not a fence", fs::MemfdFlags::CLOEXEC).unwrap();
        let error = Fence::import(memfd).unwrap_err();
        assert!(error.to_string().contains("file system"), "{error}");
        // An eventfd has an anonymous inode, as a sync_file has, and must be refused.
        let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let error = Fence::import(eventfd).unwrap_err();
        assert!(error.to_string().contains("SYNC_IOC_FILE_INFO"), "{error}");
    }

    #[test]
    fn status_of_any_number_is_pending_signalled_or_failed() {
        assert_eq!(FenceStatus::of(0), FenceStatus::Unsignalled);
        assert_eq!(FenceStatus::of(1), FenceStatus::Signalled);
        assert_eq!(FenceStatus::of(i32::MAX), FenceStatus::Signalled);
        assert_eq!(
            FenceStatus::of(-2),
            FenceStatus::Failed(Errno::NOENT.into())
        );
        assert_eq!(
            FenceStatus::of(-4096),
            FenceStatus::Failed(Errno::IO.into())
        );
        assert_eq!(
            FenceStatus::of(i32::MIN),
            FenceStatus::Failed(Errno::IO.into())
        );
    }

    #[test]
    fn status_of_merged_fences_waits_for_all_and_keeps_an_error() {
        let failed = FenceStatus::Failed(Errno::NOENT.into());
        let (unsignalled, signalled) = (FenceStatus::Unsignalled, FenceStatus::Signalled);
        assert_eq!(failed.and(unsignalled), unsignalled);
        assert_eq!(unsignalled.and(failed), unsignalled);
        assert_eq!(signalled.and(failed), failed);
        assert_eq!(failed.and(signalled), failed);
        assert_eq!(signalled.and(signalled), signalled);
    }
}
