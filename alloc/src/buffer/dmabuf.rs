//! Distinguishes dma-bufs from other files, and from each other.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{self, SeekFrom};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::SystemError;

/// The file system type of dma-bufs.
///
/// # References
/// `linux/magic.h`, DMA_BUF_MAGIC, "DMAB".
const MAGIC: u64 = 0x444d_4142;

/// The identity of a dma-buf: its inode number, which is equal for all of its file descriptors in all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BufferIdentity(pub u64);

impl fmt::Display for BufferIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "inode {}", self.0)
    }
}

/// A file is not a dma-buf, or its identity cannot be read.
#[derive(Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DmabufError {
    /// The file is not a dma-buf.
    #[error(
        "the file descriptor is not a dma-buf but a file of file system 0x{found:x} (a dma-buf's is 0x{MAGIC:x}); udmabuf makes a dma-buf from a sealed memfd"
    )]
    NotDmabuf {
        /// The magic number of the file system that the file is on.
        found: u64,
    },
    /// A system call failed.
    #[error("{operation} on the file descriptor failed: {source}")]
    Kernel {
        /// The system call that failed.
        operation: &'static str,
        /// The kernel's error.
        source: SystemError,
    },
}

crate::debug_as_display!(DmabufError);

/// Returns the identity and the size in bytes of a dma-buf.
///
/// The size is what the kernel reports (`lseek` to the end), and not what a client claims. A file must pass this check before it
/// is mapped, because the sender of a memfd could truncate it while it is mapped.
///
/// # Errors
/// [`DmabufError`].
pub fn identify(fd: impl AsFd) -> Result<(BufferIdentity, u64), DmabufError> {
    fn failed(operation: &'static str) -> impl Fn(Errno) -> DmabufError {
        move |source| DmabufError::Kernel {
            operation,
            source: source.into(),
        }
    }
    let fd: BorrowedFd<'_> = fd.as_fd();
    let found = fs::fstatfs(fd).map_err(failed("fstatfs"))?.f_type;
    let found = u64::try_from(found).unwrap_or(0);
    if found != MAGIC {
        return Err(DmabufError::NotDmabuf { found });
    }
    let inode = fs::fstat(fd).map_err(failed("fstat"))?.st_ino;
    let size_bytes = fs::seek(fd, SeekFrom::End(0)).map_err(failed("lseek"))?;
    Ok((BufferIdentity(inode), size_bytes))
}

/// Returns the name of the exporter of a dma-buf, from fdinfo; `None` if `/proc` does not show it.
#[must_use]
pub fn exporter(fd: impl AsFd) -> Option<String> {
    field(fd, "exp_name:")
}

/// Returns the number of references to a dma-buf in all processes: file descriptors, mappings and device attachments. Returns
/// `None` if `/proc` does not show it.
#[must_use]
pub fn reference_count(fd: impl AsFd) -> Option<u64> {
    field(fd, "count:")?.parse().ok()
}

/// Reads the value of a field in the fdinfo of a file descriptor.
fn field(fd: impl AsFd, name: &str) -> Option<String> {
    let number = fd.as_fd().as_raw_fd();
    // The last line of fdinfo is the name that a program gave to the dma-buf, which need not be UTF-8.
    let text = std::fs::read(format!("/proc/self/fdinfo/{number}")).ok()?;
    String::from_utf8_lossy(&text)
        .lines()
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
