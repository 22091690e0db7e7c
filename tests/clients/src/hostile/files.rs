//! The files that a hostile client sends as file descriptors.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use anyhow::Context as _;
use covalent_alloc::backend::udmabuf::Udmabuf;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::random::Random;

/// The size of the shared memory in bytes.
pub(super) const MEMORY_BYTES: u32 = 1 << 20;

/// One open file of each kind.
#[derive(Debug)]
pub(super) struct Files {
    memory: OwnedFd,
    all: Vec<OwnedFd>,
}

impl Files {
    /// Opens the files. Kinds that this machine does not have are left out.
    pub(super) fn open() -> anyhow::Result<Self> {
        let memory = memory(MEMORY_BYTES)?;
        let mut all = vec![
            memory.try_clone()?,
            // This memfd is shorter than any pool that a client creates on it.
            self::memory(1)?,
        ];
        let (read, write) = rustix::pipe::pipe()?;
        all.extend([read, write]);
        let (socket, peer) = std::os::unix::net::UnixStream::pair()?;
        drop(peer);
        all.push(socket.into());
        all.extend(listening_socket());
        for path in ["/dev/null", "/proc/self/status", "/"] {
            all.extend(rustix::fs::open(path, OFlags::CLOEXEC, Mode::empty()));
        }
        all.extend(dmabuf(&memory));
        Ok(Self { memory, all })
    }

    /// Returns the memfd of [`MEMORY_BYTES`] bytes.
    pub(super) fn memory(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }

    /// Returns a random one of the files.
    pub(super) fn any(&self, random: &mut Random) -> BorrowedFd<'_> {
        random.choose(&self.all).unwrap_or(&self.memory).as_fd()
    }
}

fn memory(bytes: u32) -> anyhow::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("hostile", flags).context("memfd_create")?;
    rustix::fs::ftruncate(&file, bytes.into())?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK)?;
    Ok(file)
}

/// Returns a listening socket, which a client can give to the compositor as that of a sandbox.
fn listening_socket() -> Option<OwnedFd> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::sync::atomic::{AtomicU32, Ordering};
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("covalent-hostile-{}-{number}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).ok()?;
    UnixListener::bind_addr(&address).ok().map(OwnedFd::from)
}

/// Returns a dma-buf of the memfd; `None` if the machine has no udmabuf, or this user may not open it.
fn dmabuf(memory: &OwnedFd) -> Option<OwnedFd> {
    let udmabuf = Udmabuf::open().ok()?;
    udmabuf.share(memory, 0, MEMORY_BYTES.into()).ok()
}
