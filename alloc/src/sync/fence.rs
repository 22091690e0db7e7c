//! A moment as the kernel hands it out: a sync_file.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs;
use rustix::io::{self, Errno};
use thiserror::Error;

use super::{Pollable, sys};

/// What `fstatfs` says of anonymous inodes, as sync_files are.
///
/// # References
/// `linux/magic.h`, ANON_INODE_FS_MAGIC.
const ANONYMOUS: u64 = 0x0904_1934;

/// Why a fence is not one, or does not answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FenceError {
    /// The file is of another kind.
    #[error("the fd is no sync_file: {why}; whoever sent it has to send a fence's fd")]
    NotFence {
        /// What it answers instead.
        why: String,
    },
    /// The kernel refused.
    #[error("{operation} on a sync_file failed: {source}{}", fds_left(*source))]
    Request {
        /// What was asked.
        operation: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
}

/// What stands behind a message when the cause is that no fd is left.
pub(super) fn fds_left(source: Errno) -> &'static str {
    match source {
        Errno::MFILE => "; the process has no fds left, raise RLIMIT_NOFILE",
        Errno::NFILE => "; the machine has no files left, raise fs.file-max",
        _ => "",
    }
}

/// How far a fence has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceStatus {
    /// The work goes on.
    Unsignalled,
    /// The work is done.
    Signalled,
    /// The work has ended, and not well: what it was to write is undefined.
    Failed(Errno),
}

impl FenceStatus {
    fn of(status: i32) -> Self {
        match status {
            0 => Self::Unsignalled,
            1.. => Self::Signalled,
            // The kernel's errors end at 4095.
            -4095..0 => Self::Failed(Errno::from_raw_os_error(status.saturating_neg())),
            _ => Self::Failed(Errno::IO),
        }
    }

    /// Of two that were merged.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unsignalled, _) | (_, Self::Unsignalled) => Self::Unsignalled,
            (Self::Failed(error), _) | (_, Self::Failed(error)) => Self::Failed(error),
            (Self::Signalled, Self::Signalled) => Self::Signalled,
        }
    }
}

/// One of the fences that a fence was merged from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FencePart {
    /// The driver that signals it.
    pub driver: String,
    /// The queue of that driver in which it stands.
    pub timeline: String,
    /// How far it has come.
    pub status: FenceStatus,
    /// When it signalled, on CLOCK_MONOTONIC.
    pub signalled_at: Option<Duration>,
}

/// The moment at which a device is done: a sync_file. It signals once and stays signalled.
///
/// The fd is readable from then on, so that any event loop can wait for it.
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
    /// Takes an fd from outside, after the kernel has said that it is a fence.
    ///
    /// A file whose requests a program answers (CUSE) is refused before any is sent: it could answer falsely, or never.
    ///
    /// # Errors
    /// [`FenceError::NotFence`]; the fd is closed.
    pub fn import(fd: OwnedFd) -> Result<Self, FenceError> {
        let found = fs::fstatfs(&fd).map_err(asked("fstatfs"))?.f_type;
        let found = u64::try_from(found).unwrap_or(0);
        if found != ANONYMOUS {
            return Err(FenceError::NotFence {
                why: format!("it is in file system 0x{found:x} rather than 0x{ANONYMOUS:x}"),
            });
        }
        match sys::status(fd.as_fd()) {
            Ok(_) => Ok(Self { fd }),
            Err(error) => Err(FenceError::NotFence {
                why: format!("SYNC_IOC_FILE_INFO answers {error}"),
            }),
        }
    }

    /// Takes an fd that the kernel has just answered with.
    pub(super) fn trusted(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Makes another fd of the same fence, to hand out.
    ///
    /// # Errors
    /// [`FenceError::Request`], when no fd is left.
    pub fn try_clone(&self) -> Result<Self, FenceError> {
        let fd = io::fcntl_dupfd_cloexec(&self.fd, 0).map_err(asked("dup"))?;
        Ok(Self { fd })
    }

    /// Makes a fence that signals when both have; it has failed where one has.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn merge(&self, other: &Self) -> Result<Self, FenceError> {
        sys::merge(self.as_fd(), other.as_fd())
            .map(Self::trusted)
            .map_err(asked("SYNC_IOC_MERGE"))
    }

    /// Makes a fence that signals when all have; `None` where there are none.
    ///
    /// # Errors
    /// As [`Fence::merge`].
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

    /// Asks how far it has come, and never waits.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn status(&self) -> Result<FenceStatus, FenceError> {
        let asked = asked("SYNC_IOC_FILE_INFO");
        let (status, count) = sys::status(self.as_fd()).map_err(asked)?;
        if count <= 1 {
            return Ok(FenceStatus::of(status));
        }
        // A merged fence that nobody waits for does not take over the errors of its parts.
        let parts = sys::parts(self.as_fd()).map_err(asked)?;
        Ok(parts
            .iter()
            .map(|part| FenceStatus::of(part.status))
            .fold(FenceStatus::Signalled, FenceStatus::and))
    }

    /// Lists the fences that it was merged from: itself, when it was not.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn parts(&self) -> Result<Vec<FencePart>, FenceError> {
        let parts = sys::parts(self.as_fd()).map_err(asked("SYNC_IOC_FILE_INFO"))?;
        Ok(parts.into_iter().map(FencePart::from).collect())
    }

    /// When it signalled, on CLOCK_MONOTONIC: when the last of its parts did. `None` while it has not.
    ///
    /// # Errors
    /// [`FenceError::Request`].
    pub fn signalled_at(&self) -> Result<Option<Duration>, FenceError> {
        let moments: Option<Vec<Duration>> = self
            .parts()?
            .into_iter()
            .map(|part| part.signalled_at)
            .collect();
        Ok(moments.and_then(|moments| moments.into_iter().max()))
    }
}

impl From<sys::Part> for FencePart {
    fn from(part: sys::Part) -> Self {
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

fn asked(operation: &'static str) -> impl Fn(Errno) -> FenceError + Copy {
    move |source| FenceError::Request { operation, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn import_of_a_file_that_is_no_fence_is_refused() {
        let memfd = fs::memfd_create("no fence", fs::MemfdFlags::CLOEXEC).unwrap();
        let error = Fence::import(memfd).unwrap_err();
        assert!(error.to_string().contains("file system"), "{error}");
        // An anonymous inode too, but of another kind.
        let eventfd = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap();
        let error = Fence::import(eventfd).unwrap_err();
        assert!(error.to_string().contains("SYNC_IOC_FILE_INFO"), "{error}");
    }

    #[test]
    fn status_of_any_number_is_one_of_three() {
        assert_eq!(FenceStatus::of(0), FenceStatus::Unsignalled);
        assert_eq!(FenceStatus::of(1), FenceStatus::Signalled);
        assert_eq!(FenceStatus::of(i32::MAX), FenceStatus::Signalled);
        assert_eq!(FenceStatus::of(-2), FenceStatus::Failed(Errno::NOENT));
        assert_eq!(FenceStatus::of(-4096), FenceStatus::Failed(Errno::IO));
        assert_eq!(FenceStatus::of(i32::MIN), FenceStatus::Failed(Errno::IO));
    }

    #[test]
    fn status_of_merged_fences_waits_for_all_and_keeps_an_error() {
        let failed = FenceStatus::Failed(Errno::NOENT);
        let (unsignalled, signalled) = (FenceStatus::Unsignalled, FenceStatus::Signalled);
        assert_eq!(failed.and(unsignalled), unsignalled);
        assert_eq!(unsignalled.and(failed), unsignalled);
        assert_eq!(signalled.and(failed), failed);
        assert_eq!(failed.and(signalled), failed);
        assert_eq!(signalled.and(signalled), signalled);
    }
}
