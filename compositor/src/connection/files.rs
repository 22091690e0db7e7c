//! Classifies the files that clients send, so that no system call on them can block the compositor.
//!
//! A FUSE file is served by a process of the client: `fstat`, `fstatfs`, page faults and even `close` may take as long as that
//! process wants. Files are therefore classified when they are received, only by requests that the kernel answers without calling
//! the file system. A file of an unknown kind is closed by a thread, and an eventfd replaces it in the client's request.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};

use covalent_alloc::buffer::exporter;
use rustix::event::{EventfdFlags, eventfd};
use rustix::net::AddressFamily;
use rustix::net::sockopt::socket_domain;

use crate::limits::Charge;

/// The number of files that threads are closing now.
static CLOSING: AtomicUsize = AtomicUsize::new(0);
/// While at least this many files are being closed, no new client is accepted. The limit bounds the number of files whose `close`
/// never returns.
const CLOSING_MAX: usize = 256;

/// The kind of a file. Kinds that the compositor does not use are not distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A memfd, or another file of tmpfs or hugetlbfs.
    SharedMemory,
    /// A dma-buf.
    Dmabuf,
    /// A pipe without a name.
    Pipe,
    /// A syncobj, a sync_file or an eventfd.
    Other,
    /// A socket of the family `AF_UNIX`. Sockets of other families can wait for a network when they are closed.
    UnixSocket,
    /// Any other file. System calls on it may block.
    Unknown,
}

impl FileKind {
    /// Classifies a file without a system call that another process could delay.
    pub fn of(file: impl AsFd) -> Self {
        let file = file.as_fd();
        // Only shared memory has seals. The kernel answers F_GET_SEALS without calling the file system.
        if rustix::fs::fcntl_get_seals(file).is_ok() {
            return Self::SharedMemory;
        }
        let number = file.as_raw_fd();
        let link = rustix::fs::readlink(format!("/proc/self/fd/{number}"), Vec::new());
        let link = link.unwrap_or_default();
        // The paths of files in file systems begin with a slash, so they cannot imitate these names.
        match link.to_bytes() {
            b"anon_inode:syncobj_file" | b"anon_inode:sync_file" | b"anon_inode:[eventfd]" => {
                Self::Other
            }
            name if name.starts_with(b"pipe:") => Self::Pipe,
            name if name.starts_with(b"socket:") && is_unix_socket(file) => Self::UnixSocket,
            // A file name can imitate the name of a dma-buf, but not the exporter's line in fdinfo.
            name if name.starts_with(b"/dmabuf:") && exporter(file).is_some() => Self::Dmabuf,
            _ => Self::Unknown,
        }
    }
}

/// Returns whether a socket has the family `AF_UNIX`.
fn is_unix_socket(file: BorrowedFd<'_>) -> bool {
    socket_domain(file) == Ok(AddressFamily::UNIX)
}

/// Closes a file in a thread. `charge` is dropped after the file is closed.
pub(super) fn close_by_thread(file: OwnedFd, charge: Option<Charge>) {
    CLOSING.fetch_add(1, Ordering::Relaxed);
    // If the thread cannot be started, the file stays open, because closing it in this thread could block the event loop. Its
    // charge then stays too, so that a client cannot keep more files open than its limit permits.
    let charged_file = ManuallyDrop::new((file, charge));
    let thread = std::thread::Builder::new()
        .name("closing".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            let (file, charge) = ManuallyDrop::into_inner(charged_file);
            drop(file);
            CLOSING.fetch_sub(1, Ordering::Relaxed);
            drop(charge);
        });
    if let Err(error) = thread {
        tracing::warn!(%error, "a file of a client cannot be closed, since no thread can be started");
    }
}

/// Returns an eventfd that replaces a file of an unknown kind. Every request that needs shared memory, a dma-buf or a timeline
/// rejects the eventfd.
///
/// # Errors
///
/// When the process has no file descriptors left.
pub(super) fn placeholder() -> rustix::io::Result<OwnedFd> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// Returns whether so many files are being closed that no new client is accepted.
pub fn too_many_are_closing() -> bool {
    CLOSING.load(Ordering::Relaxed) >= CLOSING_MAX
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, open};

    use super::*;

    #[test]
    fn files_are_recognised_by_what_the_kernel_answers() {
        let memfd = memfd_create("memory", MemfdFlags::CLOEXEC).unwrap();
        assert_eq!(FileKind::of(&memfd), FileKind::SharedMemory);
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert_eq!(FileKind::of(&pipe), FileKind::Pipe);
        let event = eventfd(0, EventfdFlags::empty()).unwrap();
        assert_eq!(FileKind::of(&event), FileKind::Other);
        let null = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(FileKind::of(&null), FileKind::Unknown);
        let (socket, _) = std::os::unix::net::UnixStream::pair().unwrap();
        assert_eq!(FileKind::of(&socket), FileKind::UnixSocket);
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(FileKind::of(&socket), FileKind::Unknown);
    }

    #[test]
    fn file_with_the_name_of_a_dmabuf_is_unknown() {
        // A file in procfs is in a file system that is not shared memory, and its name cannot be chosen. The check of fdinfo is
        // therefore tested separately.
        let status = open("/proc/self/status", OFlags::CLOEXEC, Mode::empty()).unwrap();
        assert_eq!(exporter(&status), None);
        assert_eq!(FileKind::of(&status), FileKind::Unknown);
    }

    #[test]
    fn unknown_file_is_closed_and_returns_its_charge() {
        use crate::limits::{Limit, Usage};
        use std::io::Read as _;

        let usage = std::sync::Arc::new(Usage::default());
        let charge = usage.charge(Limit::UnknownFiles, 1).unwrap();
        let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        close_by_thread(theirs.into(), Some(charge));
        // The read returns the end of the stream after the thread has closed the other end of the socket pair.
        assert_eq!(ours.read(&mut [0]).unwrap(), 0);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while usage.used(Limit::UnknownFiles) > 0 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
}
