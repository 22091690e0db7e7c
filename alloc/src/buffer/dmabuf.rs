//! Telling a dma-buf from other files, and one dma-buf from another.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What `fstatfs` says of a dma-buf.
///
/// # References
/// `linux/magic.h`, DMA_BUF_MAGIC, "DMAB".
const MAGIC: u64 = 0x444d_4142;

/// Which dma-buf an fd is: its inode, the same for every fd of it in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferIdentity(pub u64);

impl fmt::Display for BufferIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "inode {}", self.0)
    }
}

/// Why an fd is not taken as a dma-buf.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DmabufError {
    /// The file is of another kind.
    #[error(
        "the fd is no dma-buf but a file of file system 0x{found:x} (a dma-buf's is 0x{MAGIC:x}); udmabuf makes a dma-buf of a sealed memfd"
    )]
    NotDmabuf {
        /// The file system's magic number.
        found: u64,
    },
    /// The kernel would not tell.
    #[error("{operation} on the fd failed: {source}")]
    Kernel {
        /// What was asked.
        operation: &'static str,
        /// What the kernel answered.
        source: Errno,
    },
}

crate::debug_as_display!(DmabufError);

/// Identity and real size in bytes of a dma-buf.
///
/// The size is the kernel's own (`lseek` to the end), not what a client says. Nothing is mapped before this check: a
/// memfd, which its sender could truncate under a mapping, is refused here.
///
/// # Errors
/// [`DmabufError`].
pub fn identify(fd: impl AsFd) -> Result<(BufferIdentity, u64), DmabufError> {
    fn asked(operation: &'static str) -> impl Fn(Errno) -> DmabufError {
        move |source| DmabufError::Kernel { operation, source }
    }
    let fd: BorrowedFd<'_> = fd.as_fd();
    let found = fs::fstatfs(fd).map_err(asked("fstatfs"))?.f_type;
    let found = u64::try_from(found).unwrap_or(0);
    if found != MAGIC {
        return Err(DmabufError::NotDmabuf { found });
    }
    let inode = fs::fstat(fd).map_err(asked("fstat"))?.st_ino;
    let size_bytes = fs::seek(fd, SeekFrom::End(0)).map_err(asked("lseek"))?;
    Ok((BufferIdentity(inode), size_bytes))
}

/// The kernel's name for the exporter of a dma-buf; `None` where `/proc` does not tell.
#[must_use]
pub fn exporter(fd: impl AsFd) -> Option<String> {
    field(fd, "exp_name:")
}

/// How many references there are to a dma-buf in all processes: fds, mappings, and devices that have it; `None` where
/// `/proc` does not tell.
#[must_use]
pub fn reference_count(fd: impl AsFd) -> Option<u64> {
    field(fd, "count:")?.parse().ok()
}

fn field(fd: impl AsFd, name: &str) -> Option<String> {
    let number = fd.as_fd().as_raw_fd();
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(|value| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identify_of_a_memfd_or_device_is_refused() {
        let memfd = fs::memfd_create("not a dma-buf", fs::MemfdFlags::CLOEXEC).unwrap();
        assert!(matches!(
            identify(&memfd),
            Err(DmabufError::NotDmabuf { .. })
        ));
        let null = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(
            identify(&null),
            Err(DmabufError::NotDmabuf { .. })
        ));
    }
}
