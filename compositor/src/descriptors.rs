//! Raises the process's limit of file descriptors, and checks whether a reserve of them is free.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The desired limit of file descriptors of the process. Buffers with so many file descriptors would not fit into memory.
const DESIRED_LIMIT: u64 = 65_536;
/// The number of file descriptors that are kept free, so that the kernel never drops a received one. They suffice for two
/// `recvmsg` calls and one frame.
const FD_RESERVE: u64 = 64;
/// The number of file descriptors that have to be free before a new client is accepted, because the connected clients will create
/// more buffers.
const FD_RESERVE_FOR_CLIENTS: u64 = 128;

/// The limit with which the process was started. It is set only if this process has raised the limit.
static ORIGINAL_LIMIT: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit of file descriptors to the hard limit, but not above the desired limit.
///
/// The default soft limit of 1,024 exists for programs that call `select`. The buffers of three clients can reach this limit.
pub fn raise_descriptors() {
    let original = getrlimit(Resource::Nofile);
    let new_limit = original.maximum.unwrap_or(DESIRED_LIMIT).min(DESIRED_LIMIT);
    if original.current.is_some_and(|current| current < new_limit) {
        let raised = Rlimit {
            current: Some(new_limit),
            maximum: original.maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => drop(ORIGINAL_LIMIT.set(original)),
            Err(error) => tracing::info!(%error, "the limit of file descriptors cannot be raised"),
        }
    }
}

/// Returns the limit of file descriptors with which the process was started, if this process has raised it. Other programs are
/// started with this limit, because they may call `select`.
pub fn original_limit() -> Option<Rlimit> {
    ORIGINAL_LIMIT.get().copied()
}

/// Returns whether a file descriptor's number is in the reserve.
///
/// The kernel assigns the lowest free number, so nearly all lower numbers are in use in this case.
pub fn is_scarce(descriptor: RawFd) -> bool {
    is_in_reserve(descriptor, |limit| FD_RESERVE.min(limit / 4))
}

/// Returns whether too few file descriptors are free for another client. `any` is any open file descriptor.
pub fn is_full(any: impl AsFd) -> bool {
    match rustix::io::fcntl_dupfd_cloexec(any, 0) {
        Ok(next) => is_in_reserve(next.as_raw_fd(), |limit| {
            FD_RESERVE_FOR_CLIENTS.min(limit / 2)
        }),
        Err(_) => true,
    }
}

/// Returns whether a file descriptor's number is one of the last `reserve` numbers below the limit. `reserve` is computed from
/// the limit, so that most of a very low limit can still be used.
fn is_in_reserve(descriptor: RawFd, reserve: impl FnOnce(u64) -> u64) -> bool {
    let Some(limit) = getrlimit(Resource::Nofile).current else {
        return false;
    };
    let end = limit.saturating_sub(reserve(limit));
    u64::try_from(descriptor).is_ok_and(|number| number >= end)
}
